"""The table of contents: every file in pages/ has a name, a menu, an icon and a sentence; a new file needs no entry."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.material_icon_names import ALL_MATERIAL_ICONS

from pages.ui import contents
from pages.ui.scope import VIEWS

ENTRIES = [entry for entries in contents.CONTENTS.values() for entry in entries]


def test_every_page_stands_in_one_of_four_menus() -> None:
    files = {file.stem for file in contents.FOLDER.glob("[a-z]*.py")}
    assert list(contents.menus()) == ["Explore", "Compare", "Deploy", "Reference"]
    assert [len(entries) for entries in contents.menus().values()] == [3, 4, 5, 3]
    assert set(contents.pages()) == files and len(ENTRIES) == len(files) + len(contents.views())


def test_signal_is_a_view_of_the_first_page() -> None:
    (signal,) = contents.views().values()
    assert signal in contents.menus()["Explore"] and signal.path == contents.pages()[contents.FIRST].path
    assert signal.asks == {contents.SHOW: "stream"} and signal.shows in VIEWS
    assert signal.icon.removeprefix(":material/").removesuffix(":") in ALL_MATERIAL_ICONS


@pytest.mark.parametrize("entry", contents.pages().values(), ids=lambda entry: entry.name)
def test_title_file_and_address_agree_at_the_first_guess(entry: contents.Entry) -> None:
    assert entry.name == entry.title.lower().replace(" ", "_").replace("/", "")
    assert entry.icon.removeprefix(":material/").removesuffix(":") in ALL_MATERIAL_ICONS
    assert entry.why.endswith(".") and entry.why.count(". ") == 0 and 40 < len(entry.why) <= 120, "one short sentence"
    assert (contents.FOLDER / f"{entry.name}.py").read_text().startswith(f'"""{entry.title}: ')


def test_every_old_address_leads_to_a_page() -> None:
    assert set(contents.OLD_PAGES.values()) <= set(contents.pages())
    assert not (set(contents.OLD_PAGES) - {contents.FIRST}) & set(contents.pages())


def test_a_new_page_is_listed_by_its_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in contents.pages().values():
        (tmp_path / f"{entry.name}.py").touch()
    (tmp_path / "how_many.py").write_text('"""How many?: the predictions of the pruned network by class."""\n')
    (tmp_path / "bare_one.py").write_text("print()\n")
    (tmp_path / "_helper.py").touch()
    monkeypatch.setattr(contents, "FOLDER", tmp_path)
    contents.described.cache_clear()
    more = contents.menus()["More"]
    contents.described.cache_clear()
    assert [(entry.title, entry.why) for entry in more] == [
        ("Bare one", ""),
        ("How many?", "The predictions of the pruned network by class."),
    ]
