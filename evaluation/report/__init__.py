# SPDX-License-Identifier: Apache-2.0
"""Reports: tables, plots and sheets of pictures of an evaluation."""
