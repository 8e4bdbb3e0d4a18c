# SPDX-License-Identifier: Apache-2.0
"""A trained generator as a repository of the Hugging Face Hub, with a card that describes it.

Reading one needs nothing of this: `from_pretrained("user/name")`, `fastgan.load("hf://user/name")`.
What goes wrong between here and the Hub is a `fastgan.hub_files.HubError`, which is an OSError.
"""

from fastgan.hub.folder import write_folder
from fastgan.hub.push import Pushed, push_to_hub

__all__ = ["Pushed", "push_to_hub", "write_folder"]
