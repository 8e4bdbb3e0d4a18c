# SPDX-License-Identifier: Apache-2.0
"""README and the pages under docs/: their code runs, their links lead somewhere, their facts agree.

Python blocks are executed, one after another in one namespace per page. Of shell blocks each line
is checked: `fastgan ...` by the command's own parser, make targets against the Makefile, extras
against pyproject.toml, files for their existence. A block that can't be run has a comment above it,
`<!-- not run: the reason -->`.
"""

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import torch

import fastgan
from fastgan import environment
from fastgan.cli import main

ROOT = Path(__file__).parents[1]
NAMED = ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY", "examples/README", "benchmarks/README")
PAGES = [ROOT / f"{name}.md" for name in NAMED]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
LANGUAGES = ("python", "sh", "text", "bibtex", "toml")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
REASON = re.compile(r"<!-- not run: [^\n]+ -->\n\Z")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def blocks(path, language):
    """(line number, text) of each block that is to be run."""
    text = path.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match[1] == language and not REASON.search(text[: match.start()]):
            yield text.count("\n", 0, match.start()) + 1, match[2]


def with_blocks(language):
    pages = [path for path in PAGES if any(blocks(path, language))]
    return pytest.mark.parametrize("page", pages, ids=name_of)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_names_its_language(page):
    """Else nobody would notice a block that these tests leave out."""
    text = page.read_text(encoding="utf-8")
    assert {match[1] for match in FENCE.finditer(text)} <= set(LANGUAGES)
    outside = FENCE.sub("", text)
    assert "```" not in outside
    indented = [line for line in outside.splitlines() if re.match(r" {4,}(?![-*0-9 ])", line)]
    if page.name != "CHANGELOG.md" and page.parent.name != "reference":  # options of mkdocstrings
        assert not indented, "an indented code block; use a fence with a language"


@with_blocks("python")
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    torch.manual_seed(0)
    namespace = {"__name__": f"blocks of {page.name}"}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * line + code, page, "exec"), namespace)


def shell_lines(text):
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                assert_is_variable(words.pop(0).partition("=")[0])
            if words:
                yield words


def assert_is_variable(name):
    if name.startswith("FASTGAN_"):
        assert name in environment_variables(), f"{name} is not read by fastgan/environment.py"


def parse_fastgan(words, folder):
    """As the command line would: unknown commands, options and values are errors."""
    command, name = main, "fastgan"
    while isinstance(command, click.Group) and words:
        context = click.Context(command, info_name=name)
        name, *words = words
        command = command.get_command(context, name)
        assert command is not None, f"there is no command {name!r}"
    for parameter in command.params:  # files that the reader is supposed to have
        if isinstance(parameter.type, click.Path) and parameter.type.exists:
            for word in words:
                if not word.startswith("-"):
                    (folder / word).parent.mkdir(parents=True, exist_ok=True)
                    (folder / word).touch()
    if not {"--help", "-h"} & set(words):
        command.make_context(name, list(words))


def check_make(words):
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", text, re.M))
    for word in words:
        name, is_setting, _ = word.partition("=")
        if is_setting:
            assert re.search(rf"\b{name}\b", (ROOT / "Makefile").read_text()), (
                f"make knows no {name}"
            )
        else:
            assert name in targets, f"the Makefile has no target {name!r}"


def check_pip(words):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        if match := re.search(r"(?:^\.|fastgan|\.whl)\[([\w,-]+)\]", word):
            for extra in match[1].split(","):
                assert extra in project["optional-dependencies"], f"there is no extra {extra!r}"


def check_python(words, folder):
    if words[:3] == ["-m", "pip", "install"]:
        return check_pip(words[3:])
    if words[:2] == ["-m", "fastgan.cli"] or words[:2] == ["-m", "fastgan"]:
        return parse_fastgan(words[2:], folder)
    if words[0] == "-m":
        assert (ROOT / words[1].replace(".", "/")).exists() or find_spec(words[1]), words[1]
        return None
    assert (ROOT / words[0]).is_file(), f"there is no file {words[0]}"
    for option in (word for word in words[1:] if word.startswith("--")):
        name = option.partition("=")[0]
        assert f'"{name}"' in (ROOT / words[0]).read_text(), f"{words[0]} has no option {name}"
    return None


def check_torchrun(words, folder):
    target = next(i for i, word in enumerate(words) if word == "-m" or word.endswith(".py"))
    check_python(words[target:], folder)


def check_pytest(words):
    for word in words:
        if word.startswith(("tests", "benchmarks")):
            assert (ROOT / word.partition("::")[0]).exists(), f"there is no {word}"


def check_apt(words):
    """Debian's packages whose data the project reads; the names stand in its errors, too."""
    action, *packages = words
    assert action == "install"
    known = {"asterisk-core-sounds-en-wav", "espeak-ng", "fonts-noto-color-emoji", "wamerican"}
    assert set(packages) <= known


def check_text(text, folder):
    for words in shell_lines(text):
        check_shell(words, folder)


def check_shell(words, folder):
    checks = {
        "make": check_make,
        "pip": lambda rest: check_pip(rest[1:]),
        "fastgan": lambda rest: parse_fastgan(rest, folder),
        "python": lambda rest: check_python(rest, folder),
        "torchrun": lambda rest: check_torchrun(rest, folder),
        "pytest": check_pytest,
        "bash": lambda rest: check_python(rest, folder),
        "apt": check_apt,
    }
    program, *rest = words
    assert program in checks, f"no check for {program!r}: add one, or say above why it is not run"
    checks[program](rest)


@with_blocks("sh")
def test_shell_blocks_would_be_understood(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _, text in blocks(page, "sh"):
        check_text(text, tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "fastgan trian",
        "fastgan train --no-such-option",
        "fastgan train --batch none",
        "fastgan train --cfg stylegan9",
        "make no-such-target",
        "pip install '.[no-such-extra]'",
        "pytest tests/no_such_file.py",
        "python -m no_such_module",
        "FASTGAN_NO_SUCH=1 fastgan doctor",
        "python examples/dcgan.py --plane",
        "rm -rf runs",
    ],
)
def test_the_shell_check_sees_what_is_wrong(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, click.UsageError)):
        check_text(line, tmp_path)


def test_readme_trains_resumes_generates(tmp_path, monkeypatch, capsys):
    """README's training block, line by line, on a few small images for a few steps."""
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    Path("photos").mkdir()
    for index in range(8):
        noise = np.random.RandomState(index).randint(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(f"photos/{index}.png")
    small = {
        "train": "--data photos --cfg mlp --batch 4 --kimg 0.012 --device cpu",
        "generate": "--device cpu",
        "evaluate": None,  # loads a large network; tests/cli/test_evaluate.py runs it
    }
    ran = []
    for _, text in blocks(ROOT / "README.md", "sh"):
        for program, command, *rest in shell_lines(text):
            if program != "fastgan" or small.get(command) is None:
                continue
            extra = small[command].split()
            if "--resume" in rest:
                extra = ["--kimg", "0.02"]
            main([command, *rest, *extra], standalone_mode=False)
            ran.append(command)
    assert ran == ["train", "train", "train", "generate"]
    assert sorted(path.name for path in Path("runs").iterdir())[0].startswith("00000-photos-mlp")
    assert len(list(Path("out").glob("seed*.png"))) == 16


@pytest.mark.slow
def test_readme_builds_and_installs_a_wheel(tmp_path):
    """README's two lines with pip, in a copy of the sources; PyTorch is taken as it is here."""
    for name in ("README.md", "LICENSE", "MANIFEST.in", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("csrc", "fastgan"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Install")[2]
    (_, build, install, _), target = shell_lines(FENCE.search(text)[2]), tmp_path / "installed"
    (tmp_path / "installed").mkdir()
    install = [word for word in install if "*" not in word]
    run_pip(build, tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run_pip([*install, "--no-deps", "--target", str(target), str(wheel)], tmp_path)
    code = "from fastgan import ops; print(ops.backends()['bias_act']['cpu']['active'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(target)},
        cwd=target,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split() == ["cpu"], done.stderr


def run_pip(words, folder):
    assert words[0] == "pip"
    line = [sys.executable, "-m", *words]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr


def anchors(path):
    """GitHub's and MkDocs' anchors of the headings of a page."""
    found = set()
    for title in re.findall(r"^#+ +(.+)$", FENCE.sub("", path.read_text()), re.M):
        words = re.sub(r"[^\w\- ]", "", title.strip().lower())
        found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{name_of(page)} links to {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{name_of(page)} links to {target}"


CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
IN_CODE = re.compile(r"(?:tests|benchmarks|fastgan|csrc|docs|examples)/[\w./-]*\w")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_files_and_python_names_exist(page):
    """Of what stands in backticks; `<op>` and `*` are left out. CHANGELOG speaks of the past."""
    if page.name == "CHANGELOG.md":
        return
    for code in CODE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        for path in IN_CODE.findall(code) if not set("<>*{") & set(code) else ():
            assert (ROOT / path).exists(), f"{name_of(page)} names {path}"
        if re.fullmatch(r"fastgan(\.\w+)+", code):
            assert is_python_name(code), f"{name_of(page)} names {code}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_would_be_understood(page, tmp_path, monkeypatch):
    """`make lint` within a sentence, say; its arguments may be missing."""
    monkeypatch.chdir(tmp_path)
    if name_of(page) in ("CHANGELOG.md", "benchmarks/README.md"):  # name commands of the past, too
        return
    for code in CODE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"(fastgan|make|python|pytest|pip|torchrun) ", code):
            with contextlib.suppress(click.MissingParameter, click.exceptions.NoArgsIsHelpError):
                check_text(code, tmp_path)


def is_python_name(dotted):
    """Whether it is a module, or something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        return all(
            hasattr(found := getattr(found, part, None), "__class__") and found is not None
            for part in parts[count:]
        )
    return False


def test_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1200
    assert max(map(len, text.splitlines())) <= 120
    assert "unrelated to the few-shot model FastGAN" in text


def test_the_reference_has_every_public_name():
    hook = ROOT / "docs" / "reference_pages.py"
    spec = importlib.util.spec_from_file_location("reference_pages", hook)
    spec.loader.exec_module(pages := importlib.util.module_from_spec(spec))
    texts = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md")]
    text = "\n".join(map(pages.expand, texts))
    # All that is public in a module.
    whole = set(re.findall(r"^::: (\S+)\n.*\n      heading_level: .*\n(?! )", text, re.M))
    in_part = re.findall(r"^::: (\S+)\n(?:    .*\n)*?      members: \[(.*)\]$", text, re.M)
    for module, members in in_part:  # what is elsewhere would be left out without a warning
        for name in members.split(", "):
            home = getattr(getattr(importlib.import_module(module), name), "__module__", module)
            assert home == module, f"{name} is defined in {home}, not in {module}"
    listed = {f"{module}.{name}" for module, members in in_part for name in members.split(", ")}
    for name, module in fastgan._FUNCTIONS.items():
        assert f"{module}.{name}" in listed, f"fastgan.{name}"
    for package in (importlib.import_module(f"fastgan.{n}") for n in sorted(fastgan._PACKAGES)):
        parts = [
            members.split(", ")
            for module, members in in_part
            if f"{module}.".startswith(f"{package.__name__}.")
        ]
        missing = set(package.__all__).difference(*parts)
        assert not missing or package.__name__ in whole, f"{package.__name__}: {missing}"


def environment_variables():
    source = Path(environment.__file__).read_text(encoding="utf-8")
    return set(re.findall(r"\bFASTGAN_[A-Z_]+\b", source))


def test_the_table_of_environment_variables_is_whole():
    text = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(FASTGAN_\w+)` \| ([^|]+) \|", text, re.M))
    assert sorted(table) == sorted(environment_variables())
    source = Path(environment.__file__).read_text(encoding="utf-8")
    choices = dict(re.findall(r'_choice\("(\w+)", (\(.*?\)|\w+),', source))
    assert len(choices) > 3
    for name, values in choices.items():
        expected = eval(values, vars(environment))
        assert sorted(re.findall(r"`(\w+)`", table[name])) == sorted(expected), name


def ratio(number):
    return f"{number:.2f}" if number < 10 else f"{number:.1f}"


def speed_rows():
    """README's rows of speed, from the committed results."""
    results = ROOT / "benchmarks" / "results"

    def rows(file):
        return json.loads((results / f"{file}.json").read_text())["rows"]

    def of_step(file, case, phase):
        (row,) = (r for r in rows(file) if r["case"] == case and r["phase"] == phase)
        names = ("reference / native", "reference compile / native")
        return [ratio(row["ratios"][n]) if n in row["ratios"] else "not measured" for n in names]

    yield of_step("step_64_compile_2_threads", "stylegan2 64x64 composed", "step")
    yield of_step("step_128_2_threads", "stylegan2 128x128 composed", "step")
    yield of_step("step_residual_2_threads", "residual 32x32 R1 R2 composed", "step")
    yield of_step("stylegan3_1_threads", "stylegan3 T 64x64 G batch 2", "forward+backward")
    (row,) = (
        r["variants"]
        for r in rows("compile_1_threads")
        if (r["case"], r["dtype"], r["mode"]) == ("up2 8x64x128x128", "float32", "forward+backward")
    )
    yield [ratio(row[name]["ratio_to_native"]) for name in ("reference", "compile")]
    (gpu,) = ROOT.glob("benchmarks/**/nvidia-h200-2026-11-27-benchmarks.md")
    for op, mode in (
        ("bias_act", "forward"),
        ("bias_act", "forward+backward"),
        ("noise_bias_act", "forward"),
        ("adam_ema", "forward"),
    ):
        line = re.search(rf"^\| {op} \|.*\| {re.escape(mode)} \| (.*) \|$", gpu.read_text(), re.M)
        _, _, reference, _, compiled, *_ = line[1].split(" | ")
        yield [reference, compiled]


def test_readme_gives_the_committed_speeds():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("| what is timed |")[2].partition("\n\n")[0]
    shown = [
        [cell.strip() for cell in line.strip("|").split("|")][2:] for line in table.splitlines()[2:]
    ]
    assert shown == list(speed_rows())
