"""The connection's form in a browser: what it offers and says, what it saves, and what its Test button answers."""

from __future__ import annotations

import pytest
from deployment import IN_AIRFLOW_2, Deployment
from forms import Form, in_one_line
from pictures import Screenshot

from airflow_provider_segment.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_segment.testing import SegmentServer

KEY, TOKEN = "BrowserTestsWriteKey000000000000", "BrowserTestsPublicApiToken"
LABELS = {name: field["label"] for name, field in CONN_FIELDS.items()}
SECRET = {"Write key", "Public API token", "OAuth private key"}
# One text for each field; the ticked ones are apart.
FILLED = {
    "Description": "The shop's source",
    "Endpoint (optional)": "https://events.example.com:8443/segment",
    "Write key": KEY,
    "Region": "eu",
    "Workspace slug": "my-shop",
    "Source slug": "warehouse",
    "Events per second": "0",
    "Public API token": TOKEN,
    "Source id": "source-1",
    "OAuth app id": "app-1",
    "OAuth key id": "key-1",
    "OAuth private key": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    "Timeout": "12",
    "Deadline": "1200",
    "Proxy": "http://somebody:word@proxy.example.com:3128",
}


def fill(form: Form) -> None:
    """Fill in all fields."""
    for label, text in FILLED.items():
        form.write(label, text)
    form.tick("Allow http")


def test_segment_is_offered(form: Form) -> None:
    """Who types "Segm" among the types of connection is offered Segment, and nothing else."""
    assert form.types("Segm") == ["Segment"]


def test_two_fields_are_enough(form: Form, airflow: Deployment, screenshot: Screenshot) -> None:
    """A write key, and for a workspace in Dublin the region, make a connection."""
    form.new("segment_default")
    form.write("Description", "The shop's source in Segment")
    form.write("Write key", KEY)
    form.write("Region", "eu")
    screenshot("connection-form")
    form.save()
    form.edit("segment_default")
    screenshot("saved-connection")
    saved = airflow.saved("segment_default")
    assert (saved["password"], saved["extra"]["region"]) == (KEY, "eu")


def test_fields_are_labelled_and_explained(form: Form) -> None:
    """Each field has its label and its explanation, and those that are not used are not there."""
    form.new("labels")
    labels = form.labels()
    assert {*FILLED, "Allow http", *LABELS.values()} <= set(labels)
    assert not {"Host", "Password", "Login", "Port", "Schema"} & set(labels)
    for field in CONN_FIELDS.values():
        assert form.explanation(field["label"]) == field["description"]
    for label, name in (("Write key", "password"), ("Endpoint (optional)", "host")):
        assert form.placeholder(label) == UI_FIELD_BEHAVIOUR["placeholders"][name]


def test_secrets_are_not_readable(form: Form) -> None:
    """The write key and the other secrets are typed as dots."""
    form.new("secrets")
    assert {label for label in FILLED if form.is_secret(label)} == SECRET


@pytest.mark.skipif(IN_AIRFLOW_2, reason="Airflow 2 has no field of choices")
def test_region_is_a_choice(form: Form) -> None:
    """The region is chosen, not typed."""
    form.new("region")
    assert form.choices("Region") == ["us", "eu"]


def test_key_alone(form: Form, airflow: Deployment) -> None:
    """A connection with a key alone says nothing of a region or a limit, so that the defaults hold."""
    form.new("key_alone")
    form.write("Write key", KEY)
    form.save()
    saved = airflow.saved("key_alone")
    assert saved["password"] == KEY
    assert not any(saved["extra"].values())


def test_everything_is_kept(form: Form, airflow: Deployment) -> None:
    """Saved and opened again, the form says the same; with one field changed, the others and all secrets are kept."""
    form.new("kept")
    fill(form)
    form.save()
    before = airflow.saved("kept")
    assert before["password"] == KEY
    wanted = {name: in_one_line(FILLED[label]) for name, label in LABELS.items() if label in FILLED}
    wanted |= {"allow_http": True, "timeout": 12, "deadline": 1200, "events_per_second": "0" if IN_AIRFLOW_2 else 0}
    assert before["extra"] == wanted

    form.edit("kept")
    hidden = SECRET | {"Proxy"}  # Airflow 3 hides whatever is called so
    assert {label: form.read(label) for label in FILLED if label not in hidden} == {
        label: text for label, text in FILLED.items() if label not in hidden
    }
    assert form.is_ticked("Allow http")
    assert not [label for label in SECRET if form.read(label) == FILLED[label]]
    form.write("Description", "Another")
    form.save()
    assert airflow.saved("kept") == before | {"description": "Another"}


def test_cleared_fields_are_cleared(form: Form, airflow: Deployment) -> None:
    """A field that is emptied is empty when it was saved; a secret too."""
    form.new("cleared")
    fill(form)
    form.save()
    form.edit("cleared")
    for label in LABELS.values():
        if label != "Allow http":
            form.write(label, "")
    form.tick("Allow http")
    form.save()
    assert not any(airflow.saved("cleared")["extra"].values())
    form.edit("cleared")
    assert [form.read(label) for label in LABELS.values() if label != "Allow http"] == [""] * (len(LABELS) - 1)


def test_good_connection_is_said_to_be_good(form: Form, segment_server: SegmentServer) -> None:
    """The Test button says that an endpoint answers, and that Segment does not confirm keys."""
    form.new("good")
    form.write("Write key", KEY)
    form.write("Endpoint (optional)", segment_server.url)
    answer = form.test()
    assert f"The fields are right and {segment_server.url}/v1 answers. Segment does not confirm write keys" in answer
    assert IN_AIRFLOW_2 or "Test Connection Successful" in answer


@pytest.mark.parametrize(
    ("label", "text", "words"),
    [
        ("Endpoint (optional)", "http://127.0.0.1:1", "http://127.0.0.1:1/v1 cannot be reached"),
        ("Endpoint (optional)", "events.example.com", "host: expected a URL such as https://events.example.com"),
        ("Write key", "two words", "the write key has blanks or unusual characters in it"),
        ("OAuth key id", "key-1", "oauth_key_id without oauth_client_id, oauth_private_key"),
    ],
    ids=["unreachable", "endpoint", "key", "OAuth"],
)
def test_bad_connection_is_said_to_be_bad(
    form: Form, request: pytest.FixtureRequest, label: str, text: str, words: str
) -> None:
    """The Test button says what is wrong."""
    form.new(f"bad_{request.node.callspec.id}")
    form.write("Write key", KEY)
    form.write("Endpoint (optional)", "http://127.0.0.1:1")
    form.write(label, text)
    answer = form.test()
    assert words in answer
    assert IN_AIRFLOW_2 or "Test Connection Failed" in answer
