# SPDX-License-Identifier: Apache-2.0
"""A small Hub for tests, in memory, which speaks what huggingface_hub 2.4 uses.

    def test_a_commit_is_seen(hub: Hub):
        api = HfApi(endpoint=hub.endpoint, token=hub.tokens.write)
        api.create_repo("org/model")
        api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="org/model")
        assert list(hub.repos["org/model"].head.changes) == ["config.json"]

`fixtures` has the fixtures, `hub` what a test asks and orders, `repository` what the Hub keeps, `faults` what can go
wrong, and `routes` the protocol. Large files go by LFS; Xet, gated repositories and .gitignore are not there. What is
not there answers 501.
"""
