"""The guards hold for this repository, and each catches what it is there for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from dotenv import dotenv_values

from invorto.config import load, variables
from ops.guards import cover, licences, links, locks, modules, settings, words
from ops.guards.__main__ import GUARDS
from ops.guards.tree import ROOT, Tree, tree


def planted(folder: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tree(folder)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__.rpartition(".")[2])
def test_the_repository_keeps_its_guards(guard: ModuleType) -> None:
    """What is committed has none of the faults that the guards look for."""
    assert guard.faults(tree()) == []


def test_what_counts_is_what_is_committed(tmp_path: Path) -> None:
    """Files that Git does not know are nobody's business; without Git all files count."""
    planted(tmp_path, {"a.md": "", "b/c.py": "", "__pycache__/d.py": ""})
    assert tree(tmp_path).paths == ("a.md", "b/c.py")
    for command in (("init", "-q"), ("add", "b/c.py")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert tree(tmp_path).paths == ("b/c.py",)
    assert tree(tmp_path).has("b")
    assert not tree(tmp_path).has("a.md")


# -- settings -------------------------------------------------------------------------------------


def test_the_example_of_settings_is_the_defaults() -> None:
    """Copying .env.example to .env changes nothing: it reads as the defaults, and names every variable once."""
    values = dotenv_values(ROOT / ".env.example", interpolate=False)
    assert list(values) == [variable.names[0] for variable in variables()]
    assert load({name: text or "" for name, text in values.items()}) == load({})


def test_settings_that_are_not_documented_are_found(tmp_path: Path) -> None:
    """A default that changed, a missing file and a missing table are faults; a new writing mends them."""
    readme = f"# x\n{settings.BEGIN}\nold\n{settings.END}\n"
    stale = planted(tmp_path, {".env.example": "API_PORT=1\n", "README.md": readme})
    assert len(settings.faults(stale)) == 2
    assert len(settings.faults(planted(tmp_path / "empty", {"README.md": "# x\n"}))) == 2
    fresh = planted(tmp_path, {".env.example": settings.example(), "README.md": settings.with_table(readme)})
    assert settings.faults(fresh) == []


# -- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[x](gone.md)", "link gone.md leads nowhere"),
        ("![x](../a.png)", "link ../a.png leads nowhere"),
        ("[x]: gone.md", "link gone.md leads nowhere"),
        ("[x](other.md#no-such)", "link other.md#no-such: there is no such heading"),
        ("[x](#no-such)", "link #no-such: there is no such heading"),
        ("[x](/docs/other.md)", "link /docs/other.md is not a relative POSIX path"),
        ("[x](..\\docs\\other.md)", "link ..\\docs\\other.md is not a relative POSIX path"),
        ("[x](file:other.md)", "link file:other.md is not a relative POSIX path"),
        ("see `docs/gone.md`", "`docs/gone.md` is not there"),
        ("see `docs/*.txt`", "`docs/*.txt` matches no file"),
        ("see `docs/other.md:9`", "`docs/other.md:9` has no such line"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path: Path, text: str, complaint: str) -> None:
    """Links, pictures, anchors and files named in code are followed from the document that holds them."""
    files = {"docs/page.md": f"# Page\n{text}\n", "docs/other.md": "# Other `thing`\n"}
    assert links.faults(planted(tmp_path, files)) == [f"docs/page.md: {complaint}"]


def test_links_that_lead_somewhere_are_left_alone(tmp_path: Path) -> None:
    """Files, folders, headings, other sites, and whatever stands in a block of code."""
    page = (
        "# Page\n[a](other.md) [b](other.md#other-thing) [c](../docs/) [d](#page) [e](https://example.com/x) "
        "`docs/*.md` `docs/other.md:1` `invorto dev` [f](other.md 'title')\n```\n[x](gone.md) `docs/gone.md`\n```\n"
    )
    assert links.faults(planted(tmp_path, {"docs/page.md": page, "docs/other.md": "# Other `thing`\n"})) == []


# -- modules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "faulty"),
    [
        ('"""One idea."""\n', False),
        ("", False),
        ("import os\n", True),
        ('"""One idea."""\n' + "x = 1\n" * 300, True),
        ('"""A table; longer than most since it is one."""\n' + "x = 1\n" * 300, False),
        ("def broken(:\n", True),
        ('"""One idea."""\nasync def test_x():\n    pass\n', True),
        ('"""One idea."""\ndef test_x():\n    """It holds."""\n', False),
    ],
    ids=["short", "empty", "silent", "long", "long with a reason", "broken", "silent test", "test"],
)
def test_long_and_silent_modules_are_found(tmp_path: Path, text: str, faulty: bool) -> None:
    """A module says its idea, and why it is long where it is."""
    assert bool(modules.faults(planted(tmp_path, {"invorto/x.py": text}))) is faulty


def test_tests_may_be_longer(tmp_path: Path) -> None:
    """Tests are read one at a time, so a file of them may be twice as long."""
    allowed, too_long = ('"""One idea."""\n' + "x = 1\n" * count for count in (599, 600))
    files = {"tests/test_a.py": allowed, "tests/test_b.py": too_long}
    assert [fault.split(":")[0] for fault in modules.faults(planted(tmp_path, files))] == ["tests/test_b.py"]


# -- words ----------------------------------------------------------------------------------------

_SLASH = "/"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("docs/x.md", f"see {_SLASH}work/main", "path of one machine"),
        ("tests/x.py", f"P = '{_SLASH}home/ann/invorto'", "path of one machine"),
        ("x.lock", f"a @ file://{_SLASH}opt/wheels/a.whl", "path of one machine"),
        ("Makefile", "-i https://" + "pypi" + ".org/simple", "registry's host"),
        ("sdk/js/lock.json", "https://registry." + "npmjs" + ".org/a", "registry's host"),
        ("invorto/x.py", "URL = 'http://local' 'host:8080'", "development address"),
        ("invorto/x.py", "URL = f'ws://example.com/{1}'", "development address"),
        ("sdk/js/src/x.ts", "const u = 'ws://example.com'", "development address"),
    ],
)
def test_words_that_must_stand_nowhere_are_found(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    """Paths of one machine, registries, development addresses: found in the file and line where they stand."""
    (fault,) = words.faults(planted(tmp_path, {name: text}))
    assert fault.startswith(f"{name}:1: ")
    assert complaint in fault


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "invorto/x.py",
            '"""Serves http://localhost:8080 in development."""\nS = "http://"\nT = "https://example.com"',
        ),
        ("tests/x.py", "URL = 'http://localhost:8080'"),
        ("invorto/dev.py", "URL = 'http://localhost:8080'"),
        ("docs/x.md", "the folder ~/work/ and ./work/ and https://example.com/work/x"),
    ],
)
def test_words_that_may_stand_are_left_alone(tmp_path: Path, name: str, text: str) -> None:
    """Docstrings, tests, schemes alone and the files that say why."""
    assert words.faults(planted(tmp_path, {name: text})) == []


def test_every_exception_is_still_needed() -> None:
    """A file that may name a development address is there."""
    files = tree()
    assert [name for name in words.ALLOWED_ADDRESSES if not files.has(name.rstrip("/"))] == []


# -- licences, locks, coverage --------------------------------------------------------------------


def test_a_package_without_its_row_is_found(tmp_path: Path) -> None:
    """A new dependency cannot come in without its licence being listed."""
    lock = "attrs==1 \\\n    --hash=sha256:0\n"
    document = f"{licences.BEGIN}\n{licences.END}\n"
    files = {"ops/locks/server.lock": lock, "ops/locks/local.lock": lock, licences.DOCUMENT: document}
    before = planted(tmp_path, files)
    assert licences.faults(before) == ["docs/licences.md: its table is not what the locks install: run `make licences`"]
    after = planted(tmp_path, {licences.DOCUMENT: licences.with_table(document, before)})
    assert licences.faults(after) == []
    assert "| attrs | MIT | every install |" in after.text(licences.DOCUMENT)
    unknown = planted(tmp_path, {"ops/locks/local.lock": "no-such-package==1\n"})
    assert any("no-such-package: its licence is not known" in fault for fault in licences.faults(unknown))


def test_what_a_server_installs_is_part_of_what_was_tested() -> None:
    """The three locks agree on every version, and the server's has no speech engine in it."""
    texts = {name: tree().text(name) for name in locks.LOCKS}
    pins = {
        name: {line.split(" ")[0] for line in text.splitlines() if "==" in line and line[0] != " "}
        for name, text in texts.items()
    }
    assert pins["ops/locks/server.lock"] < pins["ops/locks/local.lock"] < pins["requirements.lock"]
    assert "piper-tts" not in texts["ops/locks/server.lock"]


@pytest.mark.parametrize("line", ["--index-url x", "-f x", "a @ x", "# https://x"])
def test_an_address_in_a_lock_is_found(line: str) -> None:
    """Locks hold versions and hashes, never where to fetch from."""
    assert locks._ADDRESS.search(f"a==1 \\\n    --hash=sha256:0\n{line}\n")


def test_every_pure_core_has_its_tests() -> None:
    """The list of cores that must be covered whole names files that are there."""
    files = tree()
    assert [path for path in (*cover.CORES, *cover.TESTS) if not files.has(path.removesuffix("/*"))] == []
