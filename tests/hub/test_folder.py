# SPDX-License-Identifier: Apache-2.0
"""What a push uploads: files, card, and no word about the machine or its user."""

import getpass
import json

import pytest
import torch
from hub_stand_in import PRIVATE

import fastgan
from fastgan.hub import write_folder
from fastgan.hub.card import merged_card
from fastgan.hub.settings import only_name
from fastgan.training.checkpoint.checkpoint import CheckpointError, load_generator


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_generator_alone_is_written_with_settings_samples_and_card(run, tmp_path):
    folder = write_folder(run, tmp_path / "out", "someone/faces")
    assert names(folder) == [
        "README.md", "config.json", "model.safetensors", "samples.png", "training_options.json",
    ]  # fmt: skip
    G, config = load_generator(folder)
    own, _ = load_generator(run)
    assert all(torch.equal(t, own.state_dict()[name]) for name, t in G.state_dict().items())
    assert not any(p.requires_grad for p in G.parameters())
    assert config["data"]["path"] == "photos.zip"
    assert config["init_from"]["path"] == "ckpt.safetensors"
    assert config["data"]["options"] == {"more": ["labels.csv", "data"]}
    with pytest.raises(CheckpointError, match="holds the moving average alone"):
        load_generator(folder, ema=False)


def test_nothing_names_the_machine_or_its_user(run, tmp_path):
    folder = write_folder(run, tmp_path / "out", "someone/faces", with_checkpoint=True)
    user = f"/{getpass.getuser()}".encode()
    for name in names(folder):
        content = (folder / name).read_bytes()
        assert user not in content, name
        assert not any(word.encode() in content for word in PRIVATE), name
    assert not [name for name in names(folder) if name.endswith((".pkl", ".pt", ".bin"))]


def test_with_the_checkpoint_all_networks_load(run, tmp_path):
    folder = write_folder(run, tmp_path / "out", "someone/faces", with_checkpoint=True)
    found, own = fastgan.load(folder), fastgan.load(run)
    assert found.config.data.path == "photos.zip"
    for name in ("G", "G_ema", "D"):
        theirs = getattr(own, name).state_dict()
        assert all(torch.equal(t, theirs[k]) for k, t in getattr(found, name).state_dict().items())


def test_the_card_says_what_it_is_how_it_was_trained_and_how_good_it_is(run, tmp_path):
    text = (write_folder(run, tmp_path / "out", "someone/faces") / "README.md").read_text()
    for line in (
        "library_name: fastgan",
        "# faces",
        "grey images of 8 × 8 pixels",
        "![14 generated images](samples.png)",
        "fastgan generate --network hf://someone/faces --seeds 0-13 --grid",
        'mlp.Generator.from_pretrained("someone/faces")',
        "| `kid_lite0` | 1.25 | 1 to 1.5 | 1,000 | 900 | EfficientNet-Lite0 | bicubic | 0.0 |",
        "| data set | photos, 900 samples |",
        "`fastgan train --cfg mlp`",
        f"torch {torch.__version__}; fastgan {fastgan.__version__} wrote this page",
        "The discriminator and the optimisers are not here.",
        "## License\n\nNone is stated.",
    ):
        assert line in text, line
    assert "\nlicense:" not in text
    text = (write_folder(run, tmp_path / "b", "a/b", license="cc0-1.0") / "README.md").read_text()
    assert "\nlicense: cc0-1.0\n---\n" in text
    assert "## License" not in text


def test_what_a_person_wrote_into_the_card_stays(run, tmp_path):
    new = (write_folder(run, tmp_path / "out", "a/faces") / "README.md").read_text()
    old = new.replace("1.25", "7.5").replace("\n# faces", "\n# My faces\n\nThanks to all.")
    old = old.replace("tags:", "license: mit\ntags:") + "\nAn end."
    merged = merged_card(old, new, None)
    assert "1.25" in merged
    assert "7.5" not in merged
    assert "# My faces\n\nThanks to all." in merged
    assert merged.endswith("\nAn end.")
    assert merged.count("license: mit") == 1
    assert "None is stated" not in merged
    changed = merged_card(old, new, "cc0-1.0")
    assert "license: mit" not in changed
    assert changed.count("license: cc0-1.0") == 1
    assert merged_card("# My own card", new, None) is None


def test_what_cannot_be_written_is_refused_and_leaves_nothing(run, tmp_path):
    with pytest.raises(ValueError, match="license must be an identifier"):
        write_folder(run, tmp_path / "out", "a/b", license="mit\npwned: true")
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="there exists already"):
        write_folder(run, tmp_path / "there", "a/b")
    with pytest.raises(CheckpointError, match="holds no intact checkpoint"):
        write_folder(tmp_path / "there", tmp_path / "out", "a/b")
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/b.zip", "b.zip"), ("C:\\a\\b", "b"), ("a/b/", "b"), ("digits", "digits"), ("/", "data"),
     ("~", "data"), (f"/home/{getpass.getuser()}", "data")],
)  # fmt: skip
def test_of_a_path_the_last_name_stays(path, name):
    assert only_name(path) == name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("[]", "does not hold the settings"),
        ('{"architecture": "dcgan"}', "they are of dcgan, the network of mlp"),
        ({"batch": "many"}, "does not hold the settings"),
        ({"data": {"modality": "../../etc"}}, "does not hold the settings"),
        ({"surprise": 1}, "unknown key surprise"),
    ],
)
def test_settings_of_anybody_are_checked(run, tmp_path, change, words):
    folder = write_folder(run, tmp_path / "out", "a/b")
    path = folder / "training_options.json"
    if isinstance(change, dict):
        change = json.dumps(json.loads(path.read_text()) | change)
    path.write_text(change)
    with pytest.raises(CheckpointError, match=words):
        load_generator(folder)
