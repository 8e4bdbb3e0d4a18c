# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.control import mix, parse_layers, replace_layers


def test_layers_are_numbers_and_ranges():
    assert parse_layers("0-2, 5,1", 6) == [0, 1, 2, 5]
    for text in ("", "2-1", "-1", "a", "1,,2", "0.5"):
        with pytest.raises(ValueError, match="layers must be like"):
            parse_layers(text, 6)
    with pytest.raises(ValueError, match="has layers 0 to 5, got '4-6'"):
        parse_layers("0,4-6", 6)


def test_a_table_of_mixed_styles(network):
    rows, columns = network.ws([0, 1]), network.ws([2, 3, 4])
    mixed = mix(rows, columns, [0])

    assert mixed.shape == (2, 3, network.num_ws, network.w_dim)
    for r in range(2):
        for c in range(3):
            assert torch.equal(mixed[r, c, 0], columns[c, 0])
            assert torch.equal(mixed[r, c, 1:], rows[r, 1:])
    all_of_them = mix(rows, columns, range(network.num_ws))
    assert torch.equal(all_of_them[1], columns)


def test_a_layer_that_does_not_exist_is_refused():
    ws = torch.zeros(1, 3, 2)
    with pytest.raises(ValueError, match="layers must lie in 0 to 2"):
        replace_layers(ws, ws, [3])
