# SPDX-License-Identifier: Apache-2.0
"""Speed of generation, against other ways to do the same and against the least time that it could take."""
