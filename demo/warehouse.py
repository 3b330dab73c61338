"""Fills a SQLite file with a small shop's warehouse: accounts, customers and orders, the same bytes at each run."""

from __future__ import annotations

import sqlite3
import sys
import unicodedata
from contextlib import closing
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

SEED = 20260101
FIRST_DAY = datetime(2021, 1, 4, tzinfo=UTC)
LAST_DAY = datetime(2025, 12, 31, 23, 59, tzinfo=UTC)

SCHEMA = """
CREATE TABLE accounts (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    industry  TEXT NOT NULL,
    employees INTEGER,
    plan      TEXT NOT NULL,
    website   TEXT
);
CREATE TABLE customers (
    id                 TEXT PRIMARY KEY,
    first_name         TEXT NOT NULL,
    last_name          TEXT NOT NULL,
    email              TEXT NOT NULL UNIQUE,
    phone              TEXT,
    city               TEXT,
    country            TEXT NOT NULL,
    plan               TEXT NOT NULL,
    account_id         TEXT REFERENCES accounts (id),  -- NULL: a person without a company
    created_at         TEXT NOT NULL,                  -- ISO 8601, UTC
    lifetime_value_usd NUMERIC(12, 2) NOT NULL
);
CREATE TABLE orders (
    id          TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    product     TEXT NOT NULL,
    quantity    INTEGER NOT NULL,
    amount_usd  NUMERIC(12, 2) NOT NULL,
    currency    TEXT NOT NULL,
    ordered_at  TEXT NOT NULL                          -- ISO 8601, UTC
);
"""

FIRST_NAMES = """
    Aaliyah Adam Aisha Alejandro Alice Amara Amélie Andrew Anna Antonio Ben Camila Carlos Charlotte Chloé Clara
    Daniel Diego Elena Elias Emily Emma Ethan Fatima Felix Finn Freya Gabriel Grace Hana Hannah Hassan Henry
    Hiroshi Ines Isabella Ivan Jack Jamal James Jasmine Jonas José Julia Kai Karin Kenji Lars Laura Léa Leo Liam
    Lina Lucas Lucía Maja Marco María Mateo Maya Mei Mia Michael Mohammed Nadia Naomi Nina Noah Olga Oliver Olivia
    Omar Oscar Paula Pedro Priya Rafael Ravi Rosa Ruby Samuel Sara Sofia Sophie Stefan Tara Theo Thomas Tomás
    Valentina Victor William Yara Yuki Zara Zoë
"""
LAST_NAMES = """
    Adams Ahmed Almeida Andersen Baker Bauer Becker Bennett Bianchi Brown Carter Castillo Chen Clarke Costa Cruz
    Davies Díaz Dubois Edwards Evans Fernández Fischer Foster Fraser García Gomes González Gray Green Gupta Hall
    Hansen Harris Hernández Hill Hoffmann Hughes Ibrahim Ito Jackson Jensen Johansson Johnson Jones Kaya Keller
    Khan Kim King Kowalski Kumar Lambert Larsen Lee Lefèvre Lewis Lindqvist López Martin Martínez Mbeki Meyer
    Miller Moore Morales Moreau Morgan Müller Murphy Nakamura Nguyen Nielsen Novak O'Brien O'Connor Okafor Olsen
    Owens Park Patel Pereira Peterson Petrov Phillips Ramírez Reyes Ricci Roberts Rossi Roux Sánchez Santos Sato
    Schmidt Schneider Scott Sharma Silva Singh Smith Suzuki Tan Taylor Thompson Torres Turner Vargas Virtanen
    Walker Wang Watson Weber White Williams Wilson Wright Yamamoto Yilmaz Young Zhang
"""
COMPANY_WORDS = """
    Alder Amber Anchor Aspen Beacon Birch Bluebird Bramble Bridge Cedar Clover Cobalt Copper Coral Cypress Delta
    Ember Falcon Fern Granite Harbor Hazel Heron Indigo Ivory Juniper Lantern Larch Linden Maple Meadow Nimbus
    Orchard Osprey Pebble Pioneer Quartz Raven Saffron Willow
"""
COMPANY_KINDS = (
    "Analytics", "Bank", "Clinics", "Energy", "Foods", "Freight", "Health", "Labs", "Media", "Partners",
    "Press", "Robotics", "Software", "Stores", "Works",
)  # fmt: skip
INDUSTRIES = (
    "Software", "Retail", "Manufacturing", "Healthcare", "Finance", "Education", "Logistics", "Media", "Energy",
)  # fmt: skip
PLACES = (  # city, country, calling code, weight
    ("New York", "US", "1", 30), ("San Francisco", "US", "1", 18), ("Chicago", "US", "1", 16),
    ("Austin", "US", "1", 12), ("Toronto", "CA", "1", 14), ("Vancouver", "CA", "1", 6),
    ("Mexico City", "MX", "52", 7), ("São Paulo", "BR", "55", 9), ("London", "GB", "44", 22),
    ("Manchester", "GB", "44", 7), ("Dublin", "IE", "353", 6), ("Paris", "FR", "33", 14),
    ("Lyon", "FR", "33", 5), ("Berlin", "DE", "49", 15), ("Munich", "DE", "49", 9), ("Zürich", "CH", "41", 5),
    ("Madrid", "ES", "34", 9), ("Barcelona", "ES", "34", 8), ("Milan", "IT", "39", 7),
    ("Amsterdam", "NL", "31", 9), ("Copenhagen", "DK", "45", 5), ("Stockholm", "SE", "46", 6),
    ("Warsaw", "PL", "48", 5), ("Lagos", "NG", "234", 4), ("Bengaluru", "IN", "91", 11),
    ("Singapore", "SG", "65", 6), ("Tokyo", "JP", "81", 9), ("Sydney", "AU", "61", 10),
)  # fmt: skip
PRODUCTS = (  # name, price in cents, weight
    ("Ceramic Mug", 1450, 30), ("Notebook A5", 1290, 26), ("Cotton T-Shirt", 2400, 24), ("Desk Lamp", 4990, 14),
    ("Wireless Mouse", 3495, 18), ("Mechanical Keyboard", 11900, 9), ("Laptop Stand", 5900, 10),
    ("Backpack 22L", 8900, 8), ("Noise-Cancelling Headphones", 24900, 5), ('4K Monitor 27"', 38900, 3),
    ("Office Chair", 32900, 3), ("Standing Desk", 54900, 2), ("Water Bottle", 2750, 20),
    ("USB-C Hub", 4450, 15), ("Gift Card", 5000, 7),
)  # fmt: skip
PLANS = ("free", "starter", "pro", "enterprise")

Row = dict[str, Any]


def fill(path: str | Path, *, customers: int = 10_000, accounts: int = 500, orders: int = 30_000) -> dict[str, int]:
    """Write a new warehouse to `path`, in place of what was there, and return its row counts."""
    rng = Random(SEED)
    tables = {"accounts": _accounts(rng, accounts)}
    tables["customers"] = _customers(rng, customers, tables["accounts"])
    tables["orders"] = _orders(rng, orders, tables["customers"])

    Path(path).unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        for table, rows in tables.items():
            columns = list(rows[0])
            values = ", ".join(f":{column}" for column in columns)
            insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - our own names
            connection.executemany(insert, rows)
        connection.commit()
    return {table: len(rows) for table, rows in tables.items()}


def _accounts(rng: Random, count: int) -> list[Row]:
    names = [f"{word} {kind}" for word in COMPANY_WORDS.split() for kind in COMPANY_KINDS]
    return [
        {
            "id": f"A{number:04}",
            "name": name,
            "industry": rng.choice(INDUSTRIES),
            "employees": None if rng.random() < 0.08 else int(rng.lognormvariate(4.2, 1.3)) + 2,
            "plan": rng.choices(PLANS, (10, 35, 40, 15))[0],
            "website": None if rng.random() < 0.05 else f"https://{name.lower().replace(' ', '-')}.example.com",
        }
        for number, name in enumerate(rng.sample(names, count), 1)
    ]


def _customers(rng: Random, count: int, accounts: list[Row]) -> list[Row]:
    """People, of whom three in five belong to a company; `_orders` adds up what they spend."""
    first_names, last_names = FIRST_NAMES.split(), LAST_NAMES.split()
    place_weights = [weight for *_, weight in PLACES]
    # A few companies are large, most are small.
    sizes = list(accumulate(min(rng.paretovariate(1.1), 30) for _ in accounts))
    customers: list[Row] = []
    for number in range(1, count + 1):
        first, last = rng.choice(first_names), rng.choice(last_names)
        city, country, calling_code, _ = rng.choices(PLACES, place_weights)[0]
        account = rng.choices(accounts, cum_weights=sizes)[0] if rng.random() < 0.62 else None
        customers.append(
            {
                "id": f"C{number:06}",
                "first_name": first,
                "last_name": last,
                "email": f"{_ascii(first)}.{_ascii(last)}{number}@example.{rng.choice(('com', 'com', 'org', 'net'))}",
                "phone": None if rng.random() < 0.35 else f"+{calling_code} 555 {rng.randrange(10_000_000):07}",
                "city": None if rng.random() < 0.04 else city,
                "country": country,
                "plan": account["plan"] if account else rng.choices(PLANS, (60, 28, 12, 0))[0],
                "account_id": account["id"] if account else None,
                # The shop grows: later days have more sign-ups.
                "created_at": _iso(FIRST_DAY + (LAST_DAY - FIRST_DAY) * rng.random() ** 0.6),
                "lifetime_value_usd": 0,
            }
        )
    return customers


def _orders(rng: Random, count: int, customers: list[Row]) -> list[Row]:
    """Orders placed after their customer signed up; adds them up in the customers' `lifetime_value_usd`."""
    weights = [weight for *_, weight in PRODUCTS]
    # Most customers order a few times or never, some order often.
    activity = list(accumulate(min(rng.paretovariate(1.2), 40) for _ in customers))
    orders: list[Row] = []
    for number in range(1, count + 1):
        customer = rng.choices(customers, cum_weights=activity)[0]
        product, cents, _ = rng.choices(PRODUCTS, weights)[0]
        quantity = rng.choices((1, 2, 3, 5, 10, 25), (70, 16, 7, 4, 2, 1))[0]
        paid_percent = rng.choices((100, 90, 80, 50), (80, 12, 6, 2))[0]
        amount = round(cents * quantity * paid_percent / 10_000, 2)
        signed_up = datetime.fromisoformat(customer["created_at"])
        orders.append(
            {
                "id": f"O{number:07}",
                "customer_id": customer["id"],
                "product": product,
                "quantity": quantity,
                "amount_usd": amount,
                "currency": "USD",
                "ordered_at": _iso(signed_up + (LAST_DAY - signed_up) * rng.random()),
            }
        )
        customer["lifetime_value_usd"] = round(customer["lifetime_value_usd"] + amount, 2)
    return orders


def _ascii(name: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", name.lower()) if letter in ascii_lowercase)


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python demo/warehouse.py PATH")
    for table, count in fill(sys.argv[1]).items():
        print(f"{table:<10}{count:>8,}")
