"""C2: levels and hierarchies, the order of members, members that come and go, and hierarchies that do not add up."""

from __future__ import annotations

import datetime
import itertools

import pytest

import gpu_engine as ge
from tests.engine.answers import DEADLINE, Heard, cells, told
from tests.engine.conftest import Shop


@pytest.fixture
def book(session: ge.Session) -> ge.Cube:
    """Positions by day, in a portfolio of three levels."""
    types = {
        "Id": ge.LONG,
        "Day": ge.LOCAL_DATE,
        "Unit": ge.STRING,
        "Desk": ge.STRING,
        "Book": ge.STRING,
        "cents": ge.LONG,
    }
    table = session.create_table("positions", types=types, keys=["Id"])
    table.append(
        (1, "2024-01-01", "Equity", "Cash", "B1", 1),
        (2, "2024-01-01", "Equity", "Options", "B2", 10),
        (3, "2024-01-02", "Equity", "Options", "B2", 100),
        (4, "2024-01-02", "Rates", "Swaps", "B3", 1000),
    )
    cube = session.create_cube(table)
    cube.hierarchies["Portfolio"] = [cube.levels["Unit"], cube.levels["Desk"], cube.levels["Book"]]
    return cube


class TestHierarchies:
    def test_of_several_levels_replace_those_of_one(self, book: ge.Cube) -> None:
        assert list(book.hierarchies) == ["Id", "Day", "Portfolio"]
        assert [level.name for level in book.hierarchies["Portfolio"].levels] == ["Unit", "Desk", "Book"]
        assert book.levels["Desk"].hierarchy == "Portfolio"

    def test_count_the_facts_of_each_path(self, book: ge.Cube) -> None:
        assert book.hierarchies["Portfolio"].members() == {
            ("Equity", "Cash", "B1"): 1,
            ("Equity", "Options", "B2"): 2,
            ("Rates", "Swaps", "B3"): 1,
        }

    def test_gain_and_lose_members_with_the_facts(self, book: ge.Cube) -> None:
        portfolio, table = book.hierarchies["Portfolio"], book.fact
        portfolio.members()
        table.append((5, "2024-01-02", "Rates", "Bonds", "B4", 1), (4, "2024-01-02", "Rates", "Bonds", "B4", 1))
        table.drop(keys=[1])
        assert list(portfolio.members().items()) == [(("Equity", "Options", "B2"), 2), (("Rates", "Bonds", "B4"), 2)]
        table.truncate()
        assert portfolio.members() == {}

    def test_keep_their_counts_by_deltas(self, book: ge.Cube, session: ge.Session) -> None:
        book.hierarchies["Portfolio"].members()
        book.fact.append((9, "2024-01-01", "Equity", "Cash", "B1", 1))
        (provider,) = session.statistics().providers["positions"]
        assert (provider.commits, provider.full_refresh_total) == (1, 0)
        assert book.hierarchies["Portfolio"].members()["Equity", "Cash", "B1"] == 2

    def test_show_na_as_none(self, shop: Shop) -> None:
        assert shop.cube.hierarchies["color"].members() == {("blue",): 1, ("red",): 1, (None,): 1}

    def test_show_dates_as_dates(self, book: ge.Cube) -> None:
        assert book.hierarchies["Day"].members() == {
            (datetime.date(2024, 1, 1),): 2,
            (datetime.date(2024, 1, 2),): 2,
        }

    def test_can_be_redefined_and_deleted(self, book: ge.Cube) -> None:
        book.hierarchies["Portfolio"] = [book.levels["Unit"], book.levels["Book"]]
        assert list(book.levels) == ["Id", "Day", "Unit", "Book"]
        del book.hierarchies["Portfolio"]
        assert list(book.levels) == ["Id", "Day"]

    def test_share_no_level(self, book: ge.Cube) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match=r"'Desk'.*belongs to hierarchy 'Portfolio'"):
            book.hierarchies["Desks"] = [book.levels["Desk"]]

    def test_without_levels_or_with_one_twice_are_refused(self, book: ge.Cube) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match="at least one level"):
            book.hierarchies["Empty"] = []
        with pytest.raises(ge.errors.InvalidModelError, match="twice"):
            book.hierarchies["Twice"] = [book.levels["Day"], book.levels["Day"]]
        assert list(book.hierarchies) == ["Id", "Day", "Portfolio"]

    def test_of_what_is_no_level_are_refused(self, book: ge.Cube) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match="neither a level nor a column"):
            book.hierarchies["Bad"] = ["Desk", 5]


class TestOrder:
    def test_is_ascending_at_first(self, book: ge.Cube) -> None:
        assert book.levels["Desk"].order == "ascending"
        assert list(cells(book, "cents.SUM", levels=["Desk"])) == ["Cash", "Options", "Swaps"]

    def test_can_be_descending(self, book: ge.Cube) -> None:
        book.fact.append((9, None, "Equity", None, "B1", 1))
        book.levels["Desk"].order = "descending"
        assert list(cells(book, "cents.SUM", levels=["Desk"])) == ["Swaps", "Options", "Cash", None]

    def test_can_put_some_members_first(self, book: ge.Cube) -> None:
        book.levels["Desk"].order = ["Options", "Unknown"]
        assert list(cells(book, "cents.SUM", levels=["Desk"])) == ["Options", "Cash", "Swaps"]

    def test_takes_new_members_in(self, book: ge.Cube) -> None:
        book.levels["Desk"].order = ["Bonds", "Options"]
        cells(book, "cents.SUM", levels=["Desk"])
        book.fact.append((8, None, "Rates", "Bonds", "B4", 1), (9, None, "Rates", "Arbitrage", "B5", 1))
        assert list(cells(book, "cents.SUM", levels=["Desk"])) == ["Bonds", "Options", "Arbitrage", "Cash", "Swaps"]

    def test_of_dates_takes_text(self, book: ge.Cube) -> None:
        book.levels["Day"].order = ["2024-01-02"]
        assert [day.day for day in cells(book, "cents.SUM", levels=["Day"])] == [2, 1]

    @pytest.mark.parametrize("listed", range(1, 14))
    def test_of_one_level_leaves_the_order_of_others_alone(self, session: ge.Session, listed: int) -> None:
        table = session.create_table("t", types={"g": ge.STRING, "m": ge.STRING})
        members = [f"m{number:02}" for number in range(13)]
        table.append(*itertools.product(["a", "b", "c"], [*members, None]))
        cube = session.create_cube(table)
        cube.levels["m"].order = members[:listed][::-1]
        expected = [*members[:listed][::-1], *members[listed:], None]
        answer = cells(cube, "contributors.COUNT", levels=["g", "m"])
        assert list(answer) == list(itertools.product(["a", "b", "c"], expected))

    @pytest.mark.parametrize("order", ["sideways", ["Cash", 5]])
    def test_of_another_kind_is_refused(self, book: ge.Cube, order: object) -> None:
        with pytest.raises((ge.errors.InvalidModelError, ge.errors.TypeMismatchError)):
            book.levels["Desk"].order = order  # type: ignore[assignment]
        assert book.levels["Desk"].order == "ascending"

    def test_of_many_levels_holds_beyond_63_bits_of_members(self, session: ge.Session) -> None:
        names = [f"l{number}" for number in range(13)]
        table = session.create_table("t", types=dict.fromkeys(names, ge.LONG), keys=names)
        table.append(*(tuple((number * (place + 3)) % 29 for place in range(13)) for number in range(29)))
        cube = session.create_cube(table)
        answer = cells(cube, "contributors.COUNT", levels=names)
        assert list(answer) == sorted(answer)
        assert len(answer) == 29


class TestSlicing:
    @pytest.fixture
    def newest(self, book: ge.Cube) -> ge.Cube:
        book.levels["Day"].order = "descending"
        book.hierarchies["Day"].slicing = True
        return book

    def test_takes_the_first_member_where_a_query_names_none(self, newest: ge.Cube) -> None:
        assert cells(newest, "cents.SUM") == {(): 1100}
        assert cells(newest, "cents.SUM", levels=["Unit"]) == {"Equity": 100, "Rates": 1000}
        assert cells(newest, "cents.SUM", levels=["Unit"], totals=True)[None] == (1100, 0)

    def test_leaves_alone_a_query_that_names_the_level(self, newest: ge.Cube) -> None:
        by_day = cells(newest, "cents.SUM", levels=["Day"])
        assert [(day.day, cents) for day, cents in by_day.items()] == [(2, 1100), (1, 11)]

    def test_leaves_alone_a_query_that_filters_by_the_level(self, newest: ge.Cube) -> None:
        assert cells(newest, "cents.SUM", filter=newest.levels["Day"] == "2024-01-01") == {(): 11}
        assert cells(newest, "cents.SUM", filter=newest.levels["Day"] < "2024-01-03") == {(): 1111}

    def test_goes_with_the_order_of_the_level(self, newest: ge.Cube) -> None:
        newest.levels["Day"].order = "ascending"
        assert cells(newest, "cents.SUM") == {(): 11}

    def test_switches_when_a_newer_member_arrives(self, newest: ge.Cube) -> None:
        newest.fact.append((5, "2024-01-03", "Rates", "Swaps", "B3", 5))
        assert cells(newest, "cents.SUM") == {(): 5}

    def test_switches_back_when_it_goes(self, newest: ge.Cube) -> None:
        newest.fact.append((5, "2024-01-03", "Rates", "Swaps", "B3", 5))
        newest.fact.drop(keys=[5])
        assert cells(newest, "cents.SUM") == {(): 1100}

    def test_takes_na_only_when_there_is_nothing_else(self, newest: ge.Cube) -> None:
        newest.fact.append((5, None, "Rates", "Swaps", "B3", 7))
        assert cells(newest, "cents.SUM") == {(): 1100}
        newest.fact.drop(newest.fact["Id"] < 5)
        assert cells(newest, "cents.SUM") == {(): 7}

    def test_of_nothing_is_nothing(self, newest: ge.Cube) -> None:
        newest.fact.truncate()
        assert cells(newest, "cents.SUM") == {(): 0}
        assert cells(newest, "cents.SUM", levels=["Unit"]) == {}

    def test_knows_the_first_member_of_a_past_epoch(self, newest: ge.Cube) -> None:
        newest.fact.append((5, "2024-01-03", "Rates", "Swaps", "B3", 5))
        assert cells(newest, "cents.SUM", epoch=1) == {(): 1100}

    def test_lets_a_live_query_follow_the_first_member(self, newest: ge.Cube) -> None:
        heard = Heard()
        live = newest.live("cents.SUM", levels=["Unit"], on_change=heard)
        assert live.wait_for(1, DEADLINE)
        newest.fact.append((5, "2024-01-03", "Rates", "Swaps", "B3", 5))
        newest.fact.append((6, "2024-01-01", "Equity", "Cash", "B1", 9))
        newest.fact.drop(keys=[5])
        assert live.wait_for(4, DEADLINE)
        snapshot, switched, back = heard.changes
        assert told(snapshot, 1)[0] == {"Equity": 100, "Rates": 1000}
        assert told(switched, 1) == ({}, {"Rates": 5}, {"Rates": 1000}, {"Equity": 100})
        assert (switched.epoch, back.epoch) == (2, 4)
        assert told(back, 1) == ({"Equity": 100}, {"Rates": 1000}, {"Rates": 5}, {})

    def test_gives_a_live_query_one_snapshot_only_when_others_close(self, book: ge.Cube) -> None:
        """The provider of another live query must not be the one that tells the first member."""
        other = book.live("contributors.COUNT", levels=["Day"])
        book.hierarchies["Day"].slicing = True
        live = book.live("cents.SUM")
        _, epoch = live.changes_since(None)
        other.close()
        book.fact.append((5, "2024-01-01", "Equity", "Cash", "B1", 500))
        changes, _ = live.changes_since(epoch)
        assert [change.snapshot for change in changes] == [False]
        assert told(changes[0], 0) == ({}, {(): 511}, {(): 11}, {})

    def test_can_be_switched_off(self, newest: ge.Cube) -> None:
        newest.hierarchies["Day"].slicing = False
        assert cells(newest, "cents.SUM") == {(): 1111}

    def test_of_a_hierarchy_of_several_levels_holds_its_first(self, book: ge.Cube) -> None:
        book.hierarchies["Portfolio"].slicing = True
        assert cells(book, "cents.SUM") == {(): 111}
        assert cells(book, "cents.SUM", levels=["Desk"]) == {"Cash": 1, "Options": 110, "Swaps": 1000}


class TestDictionaries:
    def test_hold_members_of_rows_that_never_were_without_showing_them(
        self, book: ge.Cube, session: ge.Session
    ) -> None:
        with pytest.raises(ge.errors.InvalidRowError), session.start_transaction():
            book.fact.append((9, "2030-01-01", "Ghost", "Ghost", "Ghost", 1))
            book.fact.update([{"Id": 77, "cents": 1}])
        assert ("Ghost",) not in book.hierarchies["Portfolio"].members()
        assert list(cells(book, "cents.SUM", levels=["Unit"])) == ["Equity", "Rates"]

    def test_grow_past_every_power_of_two_of_members(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"k": ge.LONG, "g": ge.STRING, "h": ge.LONG}, keys=["k"])
        cube = session.create_cube(table)
        cube.measures["most"] = ge.agg.max(table["k"])
        cube.create_provider(["g", "k"], ["contributors.COUNT", "most"])
        live = cube.live("most", levels=["g"])
        folded: dict[object, object] = {}
        epoch: int | None = None
        for number in range(140):
            table.append((number, f"g{number % 37}", number))
            changes, epoch = live.changes_since(epoch)
            for change in changes:
                added, changed, _, removed = told(change, 1)
                folded.update({**added, **changed})
                assert not removed
        expected = {f"g{place}": max(range(place, 140, 37)) for place in range(37)}
        assert folded == expected == cells(cube, "most", levels=["g"])
        assert len(cells(cube, "most", levels=["g", "k"])) == 140


def test_a_frame_of_few_cells_of_a_large_level_is_labelled_like_any_other(
    session: ge.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = {"shop": ge.STRING, "day": ge.LOCAL_DATE, "quantity": ge.LONG}
    sales = session.create_table("sales", types)
    sales.append(*((f"shop {i % 100:02}", f"2024-01-{1 + i % 28:02}", i) for i in range(200)), (None, None, 7))
    cube = session.create_cube(sales)
    cube.levels["shop"].order = "descending"
    chosen = (cube.levels["shop"] == "shop 03") | (cube.levels["shop"] == "shop 31") | cube.levels["shop"].isin([None])
    asked = [
        lambda levels=levels, totals=totals: cube.query("quantity.SUM", levels=levels, filter=chosen, totals=totals)
        for levels in (["shop"], ["day"], ["shop", "day"])
        for totals in (False, True)
    ]
    usual = [ask().reset_index() for ask in asked]
    monkeypatch.setattr("gpu_engine.cube.frame._MANY", 0)
    for ask, expected in zip(asked, usual, strict=True):
        assert ask().reset_index().to_csv() == expected.to_csv()
    assert len(cube.query("quantity.SUM", levels=["shop", "day"], filter=chosen).index.levels[0]) <= 3
