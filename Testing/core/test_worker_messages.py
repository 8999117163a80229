"""Lines that are requests, and what is said of all others."""

import json

import pytest
from worker_client import segment_fields

from model_core.quality import checks
from model_core.service.messages import (
    OLDEST_MONTHS,
    BadRequest,
    Open,
    Quit,
    Score,
    Segment,
    Stop,
    Stopped,
    StopRequest,
    parse,
)


def line(request, **fields):
    return json.dumps({"request": request, **fields}).encode()


def fault(content):
    with pytest.raises(BadRequest) as caught:
        parse(content)
    assert str(caught.value).count(";") == 2  # found; expected; what to do
    return caught.value


def test_requests_are_understood():
    assert parse(line("open", id=1, folder="/a", token="t")).content == Open("/a", "t")
    assert parse(line("score", prediction="a.nii", reference="b.nii")).content == Score("a.nii", "b.nii")
    assert parse(line("stop", keep=True)).content == Stop(True)
    assert parse(line("quit")).content == Quit()
    fields = segment_fields(batch_size=4, mask="m.nii")
    assert parse(line("segment", **fields)).content == Segment(**fields)


@pytest.mark.parametrize("identifier", [None, "a", 7, 1.5, True])
def test_the_id_may_be_any_json_scalar(identifier):
    assert parse(line("quit", id=identifier)).id == identifier


def test_a_field_that_may_be_null_may_be_missing():
    fields = segment_fields()
    for name in ("mask", "weights", "batch_size"):
        del fields[name]
    assert parse(line("segment", **fields)).content == Segment(**segment_fields())


def test_what_a_panel_does_not_say_of_raw_scans_has_defaults():
    content = parse(line("segment", **segment_fields())).content
    assert (content.raw, content.age_months, content.brain_extraction) == (False, None, "built-in")


@pytest.mark.parametrize("age", [0, 7, 6.5, 24])
def test_an_age_is_a_number_of_months_in_the_checks_range(age):
    assert checks.AGES[-1] == OLDEST_MONTHS
    content = parse(line("segment", **segment_fields(raw=True, age_months=age))).content
    assert (content.raw, content.age_months) == (True, age)
    assert isinstance(content.age_months, float)


@pytest.mark.parametrize("content", [b"garbage\n", b"\n", b"{", b"\xff\xfe", b"[" * 100_000, b"[1]", b"3", b"null"])
def test_what_is_no_json_object_is_called_so(content):
    error = fault(content)
    assert "is no JSON" in str(error)
    assert error.id is None


@pytest.mark.parametrize("identifier", ["[1]", "{}", "NaN", "1e999"])
def test_other_ids_are_refused(identifier):
    assert "The field id" in str(fault(f'{{"request": "quit", "id": {identifier}}}'.encode()))


@pytest.mark.parametrize("name", ["segmnet", "", None, 3, ["quit"], "Quit"])
def test_an_unknown_request_is_answered_with_the_known_ones(name):
    error = fault(line(name, id=8))
    assert "The field request is " in str(error)
    assert "open, put, segment, score, stop, quit" in str(error)
    assert error.id == 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("t1", 3), ("t2", ["a"]), ("mask", False), ("weights", 1), ("step", "8"), ("step", 8.0),
        ("step", True), ("step", 0), ("device", None), ("batch_size", 0), ("batch_size", -2),
        ("batch_size", "2"), ("align_t2", 1), ("align_t2", None), ("bias_correction", "no"), ("probabilities", None),
        ("maps", 0), ("look_at", [1, 2]), ("look_at", [1, 2, "3"]), ("look_at", 4), ("look_at", [1, 2, True]),
        ("raw", 1), ("raw", None), ("age_months", -1.0), ("age_months", 24.5), ("age_months", "7"),
        ("age_months", True), ("age_months", 1e400), ("brain_extraction", None),
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_type_is_named_with_its_field(field, value):
    error = fault(line("segment", id="x", **segment_fields(**{field: value})))
    assert f"The field {field} of the request segment is {value!r}; expected " in str(error)
    assert error.id == "x"


def test_a_missing_and_an_unknown_field_are_named():
    assert "The field keep of the request stop is None; expected true or false" in str(fault(line("stop")))
    assert "has the field 'colour'; expected prediction, reference" in str(
        fault(line("score", prediction="a", reference="b", colour=1))
    )
    assert "has the field 'now'; expected none" in str(fault(line("quit", now=True)))


def test_a_long_value_does_not_make_a_long_sentence():
    assert len(str(fault(line("stop", keep="x" * 100_000)))) < 300


def test_a_request_to_stop_without_a_result_stays_so():
    stop = StopRequest()
    stop.check()
    stop.ask(keep=True)
    stop.check(may_keep=True)
    with pytest.raises(Stopped):
        stop.check()
    stop.ask(keep=False)
    stop.ask(keep=True)
    with pytest.raises(Stopped):
        stop.check(may_keep=True)
