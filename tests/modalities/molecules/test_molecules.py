# SPDX-License-Identifier: Apache-2.0
"""Molecules from a file of SMILES to the report, in seconds; the acceptance run is slow."""

import gzip
import importlib.util
import itertools
import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcNumRings

from fastgan.cli import main
from fastgan.losses.gradient_penalty import r1
from fastgan.losses.objective import Objective
from fastgan.losses.terms import load_term
from fastgan.modalities.molecules.data import Molecules, _graph, to_smiles
from fastgan.modalities.molecules.metric import make_evaluator
from fastgan.modalities.molecules.order import alternate, walk
from fastgan.models import load_architecture
from fastgan.nn.molecules import ELEMENTS, excess_valence, links, pairs, ring_walks, valences
from fastgan.training.step.batch import Batch

SMALL = ["--batch", "8", "--tick", "0.05", "--snap", "100"]
KEPT = [
    "CCO", "CC(=O)O", "c1ccccc1", "CC#N", "C1CC1", "CS(=O)(=O)C", "c1ccncc1", "OCC(Cl)Br",
    "CCN(C)C", "FC(F)F", "C=CC=C", "O=C1CCCN1", "CC(C)(C)O", "c1ccsc1", "NC(=O)N", "CCOCC",
    "c1cc[nH]c1", "CCCCCC",
]  # fmt: skip
LEFT_OUT = [
    "C[N+](C)(C)C",
    "CCCCCCCCCC",
    "CC.O",
    "CCP",
    "not a molecule",
    "OCC",
]  # OCC is CCO again


@pytest.fixture(scope="session")
def smiles_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("molecules") / "few.smi"
    path.write_text("\n".join([*KEPT, *LEFT_OUT]))
    return path


@pytest.fixture(scope="session")
def few(smiles_file):
    return Molecules(smiles_file, most_atoms=8)


def everything(dataset):
    return dataset.batch(np.arange(len(dataset)), np.zeros((len(dataset), 4)))[0]


def test_graphs_of_molecules_are_read_back_as_the_same_molecules(few):
    canonical = [Chem.MolToSmiles(Chem.MolFromSmiles(text)) for text in KEPT]
    assert few.smiles == canonical
    x = everything(few)
    assert x["atoms"].shape == (18, 8, 8)
    assert x["bonds"].shape == (18, 28, 4)
    assert to_smiles(x, few.elements) == canonical


def test_a_graph_in_two_pieces_or_with_too_many_bonds_is_no_molecule(few):
    x = everything(few)
    ethanol = {key: value[:1].clone() for key, value in x.items()}
    first = next(p for p, pair in enumerate(zip(*pairs(8), strict=True)) if pair == (0, 1))
    ethanol["bonds"][0, first] = torch.tensor([1.0, 0, 0, 0])  # C and CO
    assert to_smiles(ethanol, few.elements) == [None]
    ethanol["bonds"][0] = torch.tensor([0.0, 0, 0, 1])  # triple bonds everywhere
    assert to_smiles(ethanol, few.elements) == [None]
    ethanol["atoms"][:] = torch.tensor([1.0, *[0] * 7])  # no atom at all
    assert to_smiles(ethanol, few.elements) == [None]


def test_packed_tables_have_a_column_of_smiles(tmp_path, few):
    path = tmp_path / "table.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("SMILES,SPLIT\n" + "".join(f"{text},train\n" for text in KEPT))
    assert Molecules(path, most_atoms=8).smiles == few.smiles
    (tmp_path / "table.csv").write_text("name,weight\nwater,18\n")
    with pytest.raises(ValueError, match=r"has the columns name, weight; expected .* SMILES"):
        Molecules(tmp_path / "table.csv")


def test_errors_say_what_is_missing(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*expected a file of SMILES"):
        Molecules(tmp_path / "none.smi")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps molsets"):
        Molecules()
    (tmp_path / "two.smi").write_text("CC\nCO\n")
    with pytest.raises(ValueError, match=r"has 2 molecules of at most 16 heavy atoms .* 16 are"):
        Molecules(tmp_path / "two.smi")


def test_excess_valence_counts_lines_by_hand():
    most = valences(("C", "O", "F"))
    atoms = torch.eye(4)[torch.tensor([[3, 3, 2, 0]])]  # F, F, O, none
    bonds = torch.zeros(1, 6, 4)
    bonds[..., 0] = 1
    for place, kind in ((0, 1), (1, 2), (3, 1)):  # F-F, F=O, F-O
        bonds[0, place] = torch.eye(4)[kind]
    assert excess_valence(atoms, bonds, most).tolist() == [[2, 1, 1, 0]]
    assert torch.equal(links(bonds, 4), links(bonds, 4).transpose(1, 2))
    term = load_term("valence", {"weight": 0.5, "elements": ["C", "O", "F"]})
    assert isinstance(term, Objective)
    fake = {"atoms": atoms.expand(3, -1, -1), "bonds": bonds.expand(3, -1, -1)}
    assert float(term.generator_losses(fake, Batch(x=fake), None)["valence"]) == 0.5 * 4
    with pytest.raises(ValueError, match=r"valence: G must make molecules"):
        term.generator_losses(bonds, Batch(x=bonds), None)
    with pytest.raises(ValueError, match=r"elements must be different ones of C, N, .*got \('Xx',"):
        valences(("Xx",))


def ring(*bonds, n=7):
    near = torch.zeros(1, n, n, dtype=torch.float64)
    for i, j in bonds:
        near[0, i, j] = near[0, j, i] = 1
    return near


def test_walks_around_rings_by_hand():
    six = [(k, (k + 1) % 6) for k in range(6)]
    walks = ring_walks(ring(*six, (5, 6)), 7)[0]  # steps 3, 4, 5, 6, 7 of each atom
    assert walks[:6].tolist() == [[0, 0, 0, 2, 0]] * 6
    assert walks[6].tolist() == [0, 0, 0, 0, 0]  # beside the ring
    walks = ring_walks(ring((0, 1), (1, 2), (0, 2), (2, 3)), 7)[0]
    assert walks[0].tolist() == [2, 0, 0, 2, 0]  # once and twice around
    assert walks[3].tolist() == [0, 0, 2, 0, 0]  # there, around, and back
    assert ring_walks(ring(*six[:5]), 7).abs().sum() == 0  # a chain
    # against counting them one by one, with bonds at random
    near = torch.ones(1, 5, 5, dtype=torch.float64) - torch.eye(5, dtype=torch.float64)
    near[0, 0, 1] = near[0, 1, 0] = near[0, 2, 4] = near[0, 4, 2] = 0
    counted = torch.zeros(5, 3)
    for k in range(3, 6):
        for way in itertools.product(range(5), repeat=k):
            steps = list(zip(way, (*way[1:], way[0]), strict=True))
            straight_back = any(way[t] == way[t + 2] for t in range(k - 2)) or way[0] == way[k - 2]
            if not straight_back and all(near[0, a, b] for a, b in steps):
                counted[way[0], k - 3] += 1
    assert torch.equal(ring_walks(near, 5)[0].float(), counted)
    few = near[:, :3, :3].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ring_walks(x, 5), few)
    assert torch.autograd.gradgradcheck(lambda x: ring_walks(x, 5), few)


def test_the_discriminator_tells_a_ring_of_six_from_two_of_three():
    _, D = networks(mbstd_group=1)
    place = {pair: p for p, pair in enumerate(zip(*(t.tolist() for t in pairs(6)), strict=True))}
    logits = []
    for bonds in (
        [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)],
        [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)],
    ):
        x = {"atoms": torch.eye(8)[torch.ones(1, 6, dtype=torch.int64)]}
        kinds = torch.zeros(1, 15, dtype=torch.int64)
        kinds[0, [place[pair] for pair in bonds]] = 1
        logits.append(D(x | {"bonds": torch.eye(4)[kinds]}).detach())
    assert abs(float(logits[0] - logits[1])) > 1e-3


def earlier(bonds, k):
    return [i for i in range(k) if bonds[i, k]]


@pytest.mark.parametrize(
    "smiles",
    [
        "CCc1ccc(OC)cc1", "Cc1nc2ccccc2[nH]1", "CN(C)C(=O)c1ccc2c(c1)CCC2", "BrC1CCC(C2CC2)C1",
        "OC1CC2CCC1C2", "CC(C)CC#N",
    ],
)  # fmt: skip
def test_rings_are_walked_in_one_go_however_the_text_is_written(smiles):
    molecule = Chem.MolFromSmiles(smiles)
    graphs = []
    for seed in range(4):
        text = Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=seed)[0]
        other = Chem.MolFromSmiles(text)
        assert sorted(walk(other)) == list(range(molecule.GetNumAtoms()))
        graphs.append(_graph(other, ELEMENTS, 16))
    assert all(np.array_equal(a, b) for g in graphs for a, b in zip(g, graphs[0], strict=True))
    bonds = np.zeros((16, 16), int)
    bonds[np.triu_indices(16, 1)] = graphs[0][1]
    size = max((len(r) for r in molecule.GetRingInfo().AtomRings()), default=0)
    hangs = [earlier(bonds, k) for k in range(1, molecule.GetNumAtoms())]
    assert all(hangs)
    assert all(len(others) <= 2 for others in hangs)
    if size:
        chain = [[k] for k in range(size - 2)]
        assert hangs[: size - 1] == [*chain, [0, size - 2]]
        assert earlier(bonds, size) == [size - 1]


def test_alternating_rings_begin_with_a_double_bond():
    for first in (1, 2):
        bonds = np.zeros((7, 7), np.uint8)
        for k in range(5):
            bonds[k, k + 1] = first if k % 2 == 0 else 3 - first
        bonds[0, 5], bonds[5, 6] = 3 - first, 1
        alternate(bonds, [(3, 4, 5, 0, 1, 2)])
        assert [bonds[k, k + 1] for k in range(6)] == [2, 1, 2, 1, 2, 1]
        assert bonds[0, 5] == 1
    kept = np.triu(np.ones((3, 3), np.uint8), 1)
    alternate(kept, [(0, 1, 2)])
    assert kept.sum() == 3


def networks(**fields):
    architecture = load_architecture("molecule_graphs")
    config = architecture.Config(
        most_atoms=6, z_dim=8, g_channels=8, g_blocks=1, d_channels=8, d_blocks=2, **fields
    )
    torch.manual_seed(0)
    return architecture.Generator(config), architecture.Discriminator(config)


def test_drawn_graphs_are_one_hot_and_in_one_piece():
    G, _ = networks(noise=1.0)
    x = G(torch.randn(64, 8))
    for key in ("atoms", "bonds"):
        assert torch.equal(x[key].sort(-1).values[..., -1], torch.ones(x[key].shape[:-1]))
        torch.testing.assert_close(x[key].sum(-1), torch.ones(x[key].shape[:-1]))
    near = links(1 - x["bonds"][..., :1], 6).squeeze(-1)
    there = 1 - x["atoms"][..., 0]
    assert (there.diff(dim=1) <= 0).all()  # its first places
    # each hangs on one earlier atom, and some close a ring with a second one
    to_earlier = near.tril().sum(2)[:, 1:][there[:, 1:] > 0.5].round()
    assert set(to_earlier.tolist()) == {1, 2}
    assert (near.tril().sum(2)[there < 0.5] == 0).all()
    reached = torch.nn.functional.one_hot(torch.zeros(64, dtype=torch.int64), 6).float()
    for _ in range(6):
        reached = torch.maximum(reached, (near @ reached[:, :, None]).squeeze(-1).clamp(max=1))
    assert torch.equal(reached.round(), there.round())
    assert len({int(n) for n in there.sum(1)}) > 1
    grads = torch.autograd.grad(sum(v.square().sum() for v in x.values()), list(G.parameters()))
    assert all(g.isfinite().all() for g in grads)
    assert sum(g.abs().sum() > 0 for g in grads) >= len(grads) - 1


def test_r1_of_graphs_is_that_of_a_float64_writing():
    _, D = networks(mbstd_group=2)
    D = D.double()
    x = {"atoms": torch.rand(4, 6, 8).double(), "bonds": torch.rand(4, 15, 4).double()}
    leaves = {key: value.clone().requires_grad_() for key, value in x.items()}
    grads = torch.autograd.grad(D(leaves).sum(), list(leaves.values()), create_graph=True)
    plain = sum(g.flatten(1).square().sum(1) for g in grads)
    got = r1(D, x)
    torch.testing.assert_close(got, plain, rtol=1e-10, atol=1e-12)
    parameters = list(D.parameters())
    for a, b in zip(
        torch.autograd.grad(got.sum(), parameters, allow_unused=True),
        torch.autograd.grad(plain.sum(), parameters, allow_unused=True),
        strict=True,
    ):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_scores_of_real_molecules_and_of_nothing(few):
    evaluator = make_evaluator(few, batch=7)
    x = everything(few)

    def part(first, n):
        return {key: value[first : first + n] for key, value in x.items()}

    values = {k: r.value for k, r in evaluator.evaluate_parts(evaluator.names, part, 18).items()}
    same = {"ringed": 1 / 3, "ringed_real": 1 / 3, "rings_w1": 0, "ring_sizes": 0}
    assert values == {"valid": 1, "unique": 1, "novel": 0} | same
    worst = {"atoms": x["atoms"][:1], "bonds": torch.eye(4)[torch.full((1, 28), 3)]}
    four = {key: value.expand(4, -1, -1) for key, value in worst.items()}
    values = {k: r.value for k, r in evaluator.evaluate(evaluator.names, lambda n: four, 4).items()}
    none = {"ringed": 0, "ringed_real": 1 / 3, "rings_w1": 1 / 3, "ring_sizes": 1}
    assert values == {"valid": 0, "unique": 0, "novel": 0} | none
    rings = [i for i, text in enumerate(few.smiles) if "1" in text]
    some = {key: value[rings[:2]] for key, value in x.items()}  # benzene and cyclopropane
    values = evaluator.evaluate(("ring_sizes", "rings_w1"), lambda n: some, 2)
    assert values["rings_w1"].value == pytest.approx(2 / 3)
    # of 6 rings 2 have six atoms, 1 has three and 3 have five
    assert values["ring_sizes"].value == pytest.approx((1 / 6 + 1 / 3 + 1 / 2) / 2)


def test_each_graph_is_read_once_for_the_value_and_its_interval(few, monkeypatch):
    read = []

    def counted(x, elements):
        read.append(len(x["atoms"]))
        return to_smiles(x, elements)

    monkeypatch.setattr("fastgan.modalities.molecules.metric.to_smiles", counted)
    evaluator = make_evaluator(few)
    x = {key: value.repeat(3, 1, 1) for key, value in everything(few).items()}
    x["atoms"][0], x["bonds"][0] = x["atoms"][1], torch.eye(4)[torch.full((28,), 3)]  # not valid
    found = evaluator.evaluate(evaluator.names, lambda n: x, 54)
    assert read == [54]
    assert found["valid"].value == 53 / 54
    low, high = found["ringed"].interval
    assert low < found["ringed"].value < high
    halves = evaluator.subset_scores(
        evaluator.names, evaluator.properties(evaluator.features(x, 0)),
        np.random.RandomState(0), 0.5,
    )  # fmt: skip
    kept = np.random.RandomState(0).permutation(54)[:27]
    assert halves["valid"] == np.mean(kept != 0)


def run(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_train_draw_and_evaluate(smiles_file, tmp_path):
    run(
        "train",
        "--cfg",
        "molecules",
        "--data",
        smiles_file,
        "--outdir",
        tmp_path,
        "--kimg",
        0.08,
        *SMALL,
    )
    folder = next(tmp_path.glob("00000-*"))
    lines = (folder / "fakes000000_080.smi").read_text().splitlines()
    assert len(lines) == 64
    assert "<svg" in (folder / "fakes000000_080.svg").read_text()
    assert (folder / "reals.smi").read_text().splitlines()[0] in Molecules(smiles_file).smiles
    page = (folder / "report.html").read_text()
    assert re.search(r"\d+ of 64 are valid", page)
    assert 'src="reals.svg"' in page
    stats = json.loads((folder / "stats.jsonl").read_text().splitlines()[-1])
    assert {"Loss/valence", "Loss/D", "Loss/G", "Loss/r1"} <= stats.keys()
    output = run("generate", "--network", folder, "--seeds", "0-2", "--outdir", tmp_path / "new")
    assert "3 molecules written" in output
    assert "valid" in run("evaluate", "--network", folder, "--num", 20)


@pytest.mark.slow
def test_the_recipe_draws_valid_different_and_new_molecules(tmp_path):
    """The acceptance run of docs/other-samples.md."""
    if importlib.util.find_spec("moses") is None:
        pytest.skip("the package molsets is not installed: pip install --no-deps molsets")
    run("train", "--cfg", "molecules", "--outdir", tmp_path)
    folder = next(tmp_path.iterdir())
    names = ("valid", "unique", "novel", "ringed", "ringed_real", "rings_w1")
    lines = {n: (folder / f"metric-{n}.jsonl").read_text().splitlines()[-1] for n in names}
    last = {name: json.loads(line)["results"][name] for name, line in lines.items()}
    assert all(last[name] >= 0.6 for name in names[:3]), last
    assert last["ringed"] >= last["ringed_real"] / 2, last
    smiles = Molecules().smiles
    mean_rings = sum(CalcNumRings(Chem.MolFromSmiles(text)) for text in smiles) / len(smiles)
    assert last["rings_w1"] < mean_rings, last  # which molecules without rings have
