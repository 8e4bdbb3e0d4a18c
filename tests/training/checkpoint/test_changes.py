# SPDX-License-Identifier: Apache-2.0
import copy

from fastgan.models.mlp import Config
from fastgan.training.checkpoint.changes import changes_since
from fastgan.training.checkpoint.contents import stage
from fastgan.training.step.state import build_state


def test_what_changes_a_runs_numbers_is_named_and_a_new_field_at_its_default_is_not(tiny):
    state = build_state(tiny.config(model=Config(img_height=8, img_width=7, g_hidden=(4,))))
    document = copy.deepcopy(stage(state).values)
    del document["config"]["d_frozen_layers"]
    document["config"]["total_kimg"] = 7.0
    document["config"]["batch"] = 8
    assert changes_since(document, state) == ("batch: 8 → 4",)
