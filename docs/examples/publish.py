# SPDX-License-Identifier: Apache-2.0
"""Publish a checkpoint, a training run or an adapter on the Hub. By default it only shows what would be pushed.

    python docs/examples/publish.py YOUR-NAME/MODEL [FOLDER]          # needs no network and no token
    python docs/examples/publish.py YOUR-NAME/MODEL [FOLDER] --push   # uses the token of `hf auth login`

Without a folder it takes the bundled checkpoint. `geodit push` does the same from the command line.
"""

import sys
from pathlib import Path

from geodit import bundled_checkpoint
from geodit.hub_cards.publish.file_selection import published_files
from geodit.hub_cards.publish.hub_client import HubClient
from geodit.hub_cards.publish.push import push_files
from geodit.hub_cards.publish.run_folders import as_checkpoint

arguments = [argument for argument in sys.argv[1:] if argument != "--push"]
if not arguments:
    sys.exit(__doc__)
repo, folder = arguments[0], Path(arguments[1] if len(arguments) > 1 else bundled_checkpoint())

# The folder of a run also holds optimizer state and intermediate checkpoints, which are left out.
with as_checkpoint(folder) as checkpoint:
    # Weights, processor, results, the code that loads them where geodit is not installed, and a card. All of it is
    # checked before anything is sent: whole weights, a valid card, no tokens or keys.
    files = published_files(checkpoint, repo_id=repo, license="apache-2.0", origin=folder)
    for file in files:
        print(f"{file.size:>10,}  {file.path_in_repo}")
    print(f"{sum(file.size for file in files):>10,}  bytes for {repo}")

    if "--push" in sys.argv:
        # One commit. A repository that does not exist is made, a private one.
        result = push_files(files, repo, client=HubClient(), private=True, message="Upload a GeoDiT model")
        print(f"{len(result.changed)} files pushed: {result.commit.commit_url}")
    else:
        print("Nothing was pushed: add --push to push it.")
