from hypothesis import given
from hypothesis import strategies as st

from api.names import clean, is_junk


@given(st.text())
def test_a_clean_name_is_a_relative_path_that_leads_nowhere_else(name: str) -> None:
    steps = clean(name).split("/")
    assert not {"", ".", ".."} & set(steps)
    assert all(character >= " " and character != "\x7f" for character in clean(name))


@given(st.text())
def test_cleaning_twice_changes_nothing_more(name: str) -> None:
    assert clean(clean(name)) == clean(name)


def test_names_of_windows_and_of_attackers_become_paths_of_ours() -> None:
    assert clean(r"C:\photos\sofa.jpg") == "C:/photos/sofa.jpg"
    assert clean("../../etc/passwd") == "etc/passwd"
    assert clean("/abs/./x.png") == "abs/x.png"
    assert clean("a\x00b\n.png") == "a_b_.png"
    assert clean("") == clean("..") == "unnamed"


def test_a_usual_name_stays_as_it_is() -> None:
    assert clean("schuhe/grün 1.jpg") == "schuhe/grün 1.jpg"


def test_what_operating_systems_leave_behind_is_junk_and_pictures_are_not() -> None:
    for name in ("__MACOSX/._a.png", "x/.DS_Store", "._a.png", "Thumbs.db", "b/desktop.ini"):
        assert is_junk(name), name
    for name in ("a.png", "thumbs.db.png", "macosx/a.png", "a.b.png"):
        assert not is_junk(name), name
