"""The connection's form as a user sees it: fields found by their labels, in the pages of Airflow 3 and 2."""

from __future__ import annotations

from typing import Any, Protocol

from deployment import PASSWORD, USER, Deployment
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import staleness_of
from waiting import wait_for


class Form(Protocol):
    """What a user does with the form."""

    def types(self, typed: str) -> list[str]:
        """Open an empty form and return the types of connection that are offered after some letters."""

    def new(self, conn_id: str) -> None:
        """Open an empty form for a connection of type Segment."""

    def edit(self, conn_id: str) -> None:
        """Open a saved connection."""

    def labels(self) -> list[str]:
        """Return what the fields are called, from top to bottom."""

    def explanation(self, label: str) -> str:
        """Return the help text of a field."""

    def placeholder(self, label: str) -> str:
        """Return what an empty field shows."""

    def is_secret(self, label: str) -> bool:
        """Return whether a field shows dots in place of letters."""

    def read(self, label: str) -> str:
        """Return what a field shows."""

    def write(self, label: str, text: str) -> None:
        """Put a text in place of what a field holds; none clears it."""

    def tick(self, label: str) -> None:
        """Click on a field of yes or no."""

    def is_ticked(self, label: str) -> bool:
        """Return what a field of yes or no says."""

    def save(self) -> None:
        """Press Save, and wait until it is done."""

    def choices(self, label: str) -> list[str]:
        """Open a field of choices and return them."""

    def test(self) -> str:
        """Press Test, which Airflow 2 has in the form and Airflow 3 beside a saved connection; return the answer."""


class React:
    """The form of Airflow 3: a dialog over the list of connections."""

    def __init__(self, browser: Chrome, airflow: Deployment) -> None:
        self._browser, self._airflow = browser, airflow
        self._conn_id = ""

    def types(self, typed: str) -> list[str]:
        self._open_empty()
        self._field("Connection Type").send_keys(typed)
        return [option.text for option in wait_for("offered type", lambda: self._all("[role=option]"))]

    def new(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._open_empty()
        self._field("Connection ID").send_keys(conn_id)
        self._field("Connection Type").send_keys("Segment", Keys.ENTER)
        wait_for("Segment's fields", lambda: "Write key" in self.labels())

    def edit(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._row(conn_id).find_element(By.CSS_SELECTOR, "[aria-label='Edit Connection']").click()
        wait_for("Segment's fields", lambda: "Write key" in self.labels())

    def labels(self) -> list[str]:
        return [_name(label) for label in self._all("[role=dialog] [data-scope=field][data-part=label]")]

    def explanation(self, label: str) -> str:
        return _text(self._around(label).find_element(By.CSS_SELECTOR, "[data-part=helper-text]"))

    def placeholder(self, label: str) -> str:
        return self._field(label).get_attribute("placeholder") or ""

    def is_secret(self, label: str) -> bool:
        return self._field(label).get_attribute("type") == "password"

    def choices(self, label: str) -> list[str]:
        self.show(label)
        self._field(label).send_keys(Keys.ARROW_DOWN)
        return [option.text for option in wait_for("choice", lambda: self._all("[role=option]"))]

    def read(self, label: str) -> str:
        field = self._field(label)
        if field.get_attribute("role") == "combobox":
            chosen = self._around(label).find_elements(By.CSS_SELECTOR, "input[type=hidden]")
            return (chosen[0].get_attribute("value") or "") if chosen else field.find_element(By.XPATH, "../..").text
        return field.get_attribute("value") or ""

    def write(self, label: str, text: str) -> None:
        self.show(label)
        field = self._field(label)
        if field.get_attribute("role") == "combobox":
            field.send_keys(text, Keys.ENTER) if text else field.send_keys(Keys.BACKSPACE)
        else:
            _paste(self._browser, field, text)
        wait_for(f"{text!r} in {label}", lambda: self.read(label) == in_one_line(text))

    def tick(self, label: str) -> None:
        before = self.is_ticked(label)
        self.show(label)
        self._around(label).find_element(By.CSS_SELECTOR, "[data-part=control]").click()
        wait_for("switch", lambda: self.is_ticked(label) != before)

    def is_ticked(self, label: str) -> bool:
        return self._field(label).is_selected()

    def save(self) -> None:
        self._button("Save").click()
        wait_for("closed dialog", lambda: not self._all("[role=dialog]"))

    def test(self) -> str:
        self.save()
        # Airflow 3.3.2 refuses to test a connection without a port: https://github.com/apache/airflow/pull/73298
        self._airflow.api("PATCH", f"/connections/{self._conn_id}?update_mask=port", self._without_port())
        self._row(self._conn_id).find_element(By.CSS_SELECTOR, "[aria-label='Test Connection']").click()
        # A first toast says that the connection was saved; the title of the second is there before its words.
        toasts = "[data-scope=toast][data-part=root]"

        def said() -> list[str]:
            texts = [one.text for one in self._all(toasts)]
            return [text for text in texts if text.startswith("Test Connection") and "\n" in text]

        return wait_for("answer", said)[0]

    def _without_port(self) -> dict[str, Any]:
        return {"connection_id": self._conn_id, "conn_type": "segment", "port": 0}

    def show(self, label: str) -> None:
        """Unfold the part of the form that holds a field."""
        field = self._field(label)
        if not field.is_displayed():
            item = field.find_element(By.XPATH, "ancestor::*[@data-scope='accordion' and @data-part='item']")
            item.find_element(By.CSS_SELECTOR, "[data-part=item-trigger]").click()
            wait_for(f"field {label}", field.is_displayed)

    def _open_empty(self) -> None:
        self._open_list()
        self._button("Add Connection").click()
        wait_for("form", lambda: self._all("[role=dialog] [role=combobox]"))

    def _open_list(self) -> None:
        self._browser.get(f"{self._airflow.url}/connections")
        wait_for("list of connections", lambda: self._buttons("Add Connection"))

    def _row(self, conn_id: str) -> WebElement:
        self._open_list()
        path = f"//tr[.//*[text()='{conn_id}']]"
        return wait_for(f"connection {conn_id}", lambda: self._browser.find_elements(By.XPATH, path))[0]

    def _around(self, label: str) -> WebElement:
        """Return what holds a label, its field and the help; not every label knows its field."""
        labels = self._all("[role=dialog] [data-scope=field][data-part=label]")
        found = next(found for found in labels if _name(found) == label)
        return found.find_element(By.XPATH, "ancestor::*[@data-scope='field' and @data-part='root'][1]")

    def _field(self, label: str) -> WebElement:
        return self._around(label).find_element(By.CSS_SELECTOR, "input:not([type=hidden]), textarea")

    def _buttons(self, text: str) -> list[WebElement]:
        return self._browser.find_elements(By.XPATH, f"//button[normalize-space(.)='{text}']")

    def _button(self, text: str) -> WebElement:
        return wait_for(f"button {text}", lambda: [one for one in self._buttons(text) if one.is_enabled()])[0]

    def _all(self, selector: str) -> list[WebElement]:
        return self._browser.find_elements(By.CSS_SELECTOR, selector)


class Fab:
    """The form of Airflow 2: a page of its own."""

    def __init__(self, browser: Chrome, airflow: Deployment) -> None:
        self._browser, self._airflow = browser, airflow
        browser.get(f"{airflow.url}/connection/add")
        if names := self._all("#username"):
            names[0].send_keys(USER)
            self._all("#password")[0].send_keys(PASSWORD, Keys.ENTER)

    def types(self, typed: str) -> list[str]:
        self._open_empty()
        self._type_of_connection(typed)
        return [option.text for option in self._all(".select2-results__option")]

    def new(self, conn_id: str) -> None:
        self._open_empty()
        self._field("Connection Id").send_keys(conn_id)
        self._type_of_connection("Segment").send_keys(Keys.ENTER)
        wait_for("Segment's fields", lambda: "Write key" in self.labels())

    def edit(self, conn_id: str) -> None:
        self._browser.get(f"{self._airflow.url}/connection/list/?_flt_3_conn_id={conn_id}")
        wait_for("link to edit", lambda: self._all("a[href*='/connection/edit']"))[0].click()
        wait_for("Segment's fields", lambda: "Write key" in self.labels())

    def labels(self) -> list[str]:
        return [_name(label) for label in self._all("#model_form label") if label.is_displayed()]

    def explanation(self, label: str) -> str:
        return self._field(label).find_element(By.XPATH, "../*[@class='help-block']").text

    def placeholder(self, label: str) -> str:
        return self._field(label).get_attribute("placeholder") or ""

    def is_secret(self, label: str) -> bool:
        return self._field(label).get_attribute("type") == "password"

    def read(self, label: str) -> str:
        return self._field(label).get_attribute("value") or ""

    def choices(self, label: str) -> list[str]:
        return []  # Airflow 2 has no field of choices

    def write(self, label: str, text: str) -> None:
        _paste(self._browser, self._field(label), text)

    def tick(self, label: str) -> None:
        self._field(label).click()

    def is_ticked(self, label: str) -> bool:
        return self._field(label).is_selected()

    def save(self) -> None:
        button = self._all("#model_form button[type=submit]")[0]
        button.click()
        wait_for("next page", lambda: staleness_of(button)(self._browser))  # it is the one before the form, any page

    def test(self) -> str:
        self._all("#test-connection")[0].click()
        return wait_for("answer", lambda: [one.text for one in self._all(".alert-success, .alert-error") if one.text])[
            0
        ]

    def _open_empty(self) -> None:
        self._browser.get(f"{self._airflow.url}/connection/add")
        wait_for("form", lambda: self._all(".select2-selection"))

    def _type_of_connection(self, typed: str) -> WebElement:
        self._all(".select2-selection")[0].click()
        search = wait_for("search for types", lambda: self._all(".select2-search__field"))[0]
        search.send_keys(typed)
        return search

    def _field(self, label: str) -> WebElement:
        found = next(one for one in self._all("#model_form label") if one.is_displayed() and _name(one) == label)
        return self._browser.find_element(By.ID, found.get_attribute("for") or "")

    def _all(self, selector: str) -> list[WebElement]:
        return self._browser.find_elements(By.CSS_SELECTOR, selector)


def in_one_line(text: str) -> str:
    """Return what a field of one line makes of a text that is pasted into it."""
    return text.replace("\n", " ")


def _paste(browser: Chrome, field: WebElement, text: str) -> None:
    """Put a text in place of what a field holds, at once: Airflow 3 loses letters that are typed fast."""
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.BACKSPACE)
    browser.execute_cdp_cmd("Input.insertText", {"text": text})


def _text(element: WebElement) -> str:
    """Return an element's text, also when it is folded away."""
    return (element.get_attribute("textContent") or "").strip()


def _name(label: WebElement) -> str:
    return _text(label).removesuffix("*").strip()
