# SPDX-License-Identifier: Apache-2.0
"""Every phase of every shipped recipe could be captured; by default, one recipe of each network."""

import pytest
from _small_networks import OTHER_RECIPES, PUBLISHED_RECIPES, SMALL_RECIPES

PHASES = {
    "d_step",
    "d_penalty_step",
    "d_full_step",
    "g_step",
    "g_step + average",
    "g_penalty_step + average",
    "g_full_step + average",
    "ada.update",
}


@pytest.fixture(scope="module")
def table(lint):
    return lint("lint_table.py", "--json")


@pytest.fixture(scope="module")
def whole_table(lint):
    return lint("lint_table.py", "--json", "--all")


def check(rows, recipe):
    rows = [row for row in rows if row["recipe"] == recipe]
    assert "g_step + average" in {row["phase"] for row in rows}
    for row in rows:
        name = f"{recipe}, {row['variant']}, {row['phase']}"
        assert row["findings"] == [], f"{name}: {row['findings']}"
        assert row["ops"] > 0, name
        if row["variant"] == "plain PyTorch ops":
            assert row["fastgan_ops"] == 0, name
        elif "_step" in row["phase"]:
            assert row["fastgan_ops"] > 0, name


def test_a_recipe_of_each_network_is_capturable(table):
    code, rows = table
    recipes = {row["recipe"] for row in rows}
    assert len(recipes) >= 15, recipes  # as many architectures have a recipe for a processor
    for recipe in recipes:
        check(rows, recipe)
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*SMALL_RECIPES, *OTHER_RECIPES, *PUBLISHED_RECIPES])
def test_a_recipe_is_capturable_with_every_option(whole_table, recipe):
    code, rows = whole_table
    check(rows, recipe)
    assert code == 0


@pytest.mark.slow
def test_no_phase_of_the_step_is_left_out(whole_table):
    assert {row["phase"] for row in whole_table[1]} == PHASES
