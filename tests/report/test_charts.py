"""Charts are plain SVG that says what it shows."""

import pytest

from recsvc.report.charts import NAMES, VALUES, WIDTH, Bar, Point, bar_chart, line_chart

# --- charts ----------------------------------------------------------------------------------


class TestCharts:
    def test_bars_are_as_long_as_their_values_on_one_scale(self) -> None:
        one, two = Bar("one", "time", 1.0, "1"), Bar("two", "time", 2.0, "2", 1.5, 2.5)
        chart = bar_chart([("first", [one]), ("second", [two])])
        short, long = chart.bars
        assert long.width == pytest.approx(2 * short.width)
        assert short.x == long.x == NAMES
        unit = short.width
        assert long.whisker == pytest.approx((NAMES + 1.5 * unit, NAMES + 2.5 * unit))
        assert max(tick.at for tick in chart.ticks) == WIDTH - VALUES

    def test_an_interval_below_zero_stays_in_the_picture(self) -> None:
        chart = bar_chart([("", [Bar("mid", "popular", 0.1, "0.1", -0.1, 0.3)])])
        (bar,) = chart.bars
        assert bar.whisker is not None
        assert NAMES <= bar.whisker[0] < bar.x

    @pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1e-9], [123_456.0], [-1.0, -2.0]])
    def test_any_values_can_be_drawn(self, values: list[float]) -> None:
        chart = bar_chart([("", [Bar("x", "time", value, "") for value in values])])
        assert all(NAMES <= bar.x <= WIDTH - VALUES for bar in chart.bars)
        assert len({tick.text for tick in chart.ticks}) == len(chart.ticks) >= 2

    def test_higher_values_are_higher_up_and_later_ones_further_right(self) -> None:
        points = [Point(0, 1.0), Point(1, 3.0, 2.0, 4.0), Point(2, 2.0)]
        (line,) = line_chart({"time": points}, ["1", "2", "3"]).lines
        (x0, y0), (x1, y1), (x2, y2) = line.dots
        assert x0 < x1 < x2
        assert y1 < y2 < y0
        ((x, low, high),) = line.whiskers
        assert x == x1
        assert high < y1 < low

    def test_of_many_nights_some_are_named_and_the_last_one_always_is(self) -> None:
        places = [str(run) for run in range(1, 31)]
        chart = line_chart({"time": [Point(i, 1.0) for i in range(30)]}, places)
        assert len(chart.labels) <= 8
        assert chart.labels[-1].text == "30"
