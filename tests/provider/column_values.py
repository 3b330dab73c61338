"""Values of each database's types, as SQL writes them: those that say the same stand in one list.

A value that begins with an exclamation mark is one that Segment cannot get, so that its row is refused.
"""

from __future__ import annotations

Values = list[list[str]]

TEXTS: Values = [["NULL"], ["''"], ["' '"], ["'a'"], ["'A'"], ["'a '"], ["'ä'"], ["'a\u0308'"], ["'NULL'"], ["'it''s'"]]
TEXTS += [["'\"'"], ["'%s %'"], ["'a\nb'"], ["'\u202eabc'"], ["'😀'"], ["'😁'"], ["'1'"], ["'1.0'"]]
SHORT: Values = [["NULL"], ["''", "' '"], ["'a'", "'a '"], ["'A'"], ["'ä'"]]
TRUTH: Values = [["NULL"], ["true"], ["false"]]
WHOLE: Values = [["NULL"], ["0"], ["1"], ["-1"]]
LARGE: Values = [*WHOLE, ["4294967296"], ["-4294967296"], ["9007199254740993"], ["9007199254740992"]]
HUGE: Values = [*WHOLE, ["18446744073709551616"], ["1" + 38 * "0"]]
FLOATS: Values = [["NULL"], ["0.0", "-0.0"], ["1", "1.0"], ["-1"], ["0.1"], ["0.3"], ["0.30000000000000004"], ["1e300"]]
SINGLES: Values = [["NULL"], ["0.0", "-0.0"], ["1"], ["0.1"], ["0.10000001"], ["16777216"], ["16777218"]]
NUMBERS: Values = [*WHOLE, ["1.01"], ["-1.01"], ["12345678901234567.89"], ["12345678901234567.88"]]
CENTS: Values = [["NULL"], ["0"], ["1", "1.0", "1.00"], ["-1"], ["0.01"], ["-0.01"]]
DATES: Values = [["NULL"], ["'2026-01-01'"], ["'2026-01-02'"]]
MOMENTS: Values = [["NULL"], ["'2026-01-01'"], ["'2026-01-01 00:00:00.000001'"], ["'2026-01-01 00:00:00.000002'"]]
ZONED: Values = [["NULL"], ["'2026-01-01 00:00+00'", "'2026-01-01 01:00+01'"], ["'2026-01-01 00:00+01'"]]
TIMES: Values = [["NULL"], ["'00:00'"], ["'12:00'"], ["'00:00:00.000001'"], ["'01:11:34.967296'"]]
UUIDS: Values = [["NULL"], [f"'{31 * '0'}1'"], [f"'{31 * '0'}2'"], [f"'{'01' * 16}'"]]
NOT_FINITE: Values = [["!'NaN'"], ["!'inf'"], ["!'-inf'"]]
JSON: Values = [
    ["NULL", "'null'"],
    ["'{}'"],
    ["'[]'"],
    ["""'""'"""],
    ["'1'"],
    ["""'"1"'"""],
    ["'true'"],
    ["""'{"a":null}'"""],
]
JSON += [
    ["""'{"a":1}'""", """'{"a": 1}'""", """'{"a":1.0}'"""],
    ["""'{"A":1}'"""],
    ["""'{"a":"1"}'"""],
    ["'[1,2]'"],
    ["'[2,1]'"],
]

POSTGRES: dict[str, Values] = {
    "text": TEXTS,
    "varchar(20)": TEXTS,
    "name": TEXTS,
    "char(4)": SHORT,
    '"char"': [["NULL"], ["'a'"], ["'A'"]],
    "bool": TRUTH,
    "int2": WHOLE,
    "int4": WHOLE,
    "int8": LARGE,
    "float8": [*FLOATS, *NOT_FINITE],
    "float4": [*SINGLES, *NOT_FINITE],
    "numeric": [*NUMBERS, ["1.5", "1.50"], *NOT_FINITE],
    "money": [["NULL"], ["1"], ["-1"], ["1.01"]],
    "price": CENTS,
    "bytea": [["NULL"], ["''"], ["'\\x00'"], ["'\\x61'"], ["'\\x6100'"]],
    "date": [*DATES, ["!'infinity'"]],
    "time": [*TIMES, ["!'24:00'"]],
    "timetz": [["NULL"], ["'12:00+00'"], ["'12:00+01'"], ["'13:00+01'"]],
    "timestamp": [*MOMENTS, ["!'-infinity'"]],
    "timestamptz": [*ZONED, ["!'infinity'"]],
    "interval": [["NULL"], ["'1 month'", "'30 days'", "'720 hours'"], ["'1 day'", "'24 hours'"], ["'0'"], ["'-1 day'"]],
    "uuid": UUIDS,
    "json": JSON,
    "jsonb": JSON,
    "json[]": [["NULL"], ["ARRAY['{}'::json]"], ["ARRAY['[]'::json]"]],
    "int[]": [["NULL"], ["'{}'"], ["'{NULL}'"], ["'{1}'"], ["'{{1}}'"], ["'{1,2}'"], ["'{2,1}'"]],
    "text[]": [
        ["NULL"],
        ["'{}'"],
        ["""'{""}'"""],
        ["'{NULL}'"],
        ["""'{"NULL"}'"""],
        ["'{a,b}'"],
        ["""'{"a,b"}'"""],
        ["'{A,b}'"],
    ],
    "numeric[]": [["NULL"], ["'{1.0}'", "'{1.00}'"], ["'{-1}'"]],
    "float8[]": [["NULL"], ["'{0.3}'"], ["'{0.30000000000000004}'"]],
    "timestamptz[]": [["NULL"], ["'{2026-01-01 00:00+00}'", "'{2026-01-01 01:00+01}'"], ["'{2026-01-01 00:00+01}'"]],
    "thing": [["NULL"], ["ROW(NULL,NULL)"], ["ROW(1,NULL)"], ["ROW(1,'')"], ["ROW(1,'a')"], ["ROW(1,'A')"]],
    "thing[]": [["NULL"], ["ARRAY[ROW(1,'a')]::thing[]"], ["ARRAY[ROW(1,'b')]::thing[]"]],
    "mood": [["NULL"], ["'sad'"], ["'Sad'"]],
    "int4range": [["NULL"], ["'empty'"], ["'[1,3)'", "'[1,2]'"], ["'[1,4)'"], ["'(,)'"]],
    "inet": [["NULL"], ["'10.0.0.1'", "'10.0.0.1/32'"], ["'10.0.0.1/8'"]],
    "varbit": [["NULL"], ["B''"], ["B'0'"], ["B'00'"]],
    "point": [["NULL"], ["'(1,2)'"], ["'(2,1)'"]],
    "tsvector": [["NULL"], ["'a b'"], ["'a c'"]],
}
MARIADB: dict[str, Values] = {
    "VARCHAR(50) COLLATE utf8mb4_general_ci": TEXTS,
    "TEXT COLLATE utf8mb4_unicode_ci": TEXTS,
    "VARCHAR(9) CHARACTER SET greek": [["NULL"], ["'λ'"], ["'Λ'"]],
    "VARCHAR(9) CHARACTER SET latin1": [["NULL"], ["'é'"], ["'É'"]],
    "CHAR(4)": SHORT,
    "BLOB": [["NULL"], ["''"], ["x'00'"], ["'a'"], ["x'6100'"], ["x'ff'"], ["'A'"]],
    "BOOLEAN": TRUTH,
    "BIGINT": LARGE,
    "BIGINT UNSIGNED": [["NULL"], ["0"], ["18446744073709551615"], ["18446744073709551614"]],
    "DOUBLE": FLOATS,
    "FLOAT": [["NULL"], ["0.0", "-0.0"], ["1"], ["1.5"]],
    "DECIMAL(30,10)": NUMBERS,
    "DATE": DATES,
    "DATETIME(6)": MOMENTS,
    "TIMESTAMP(6) NULL": MOMENTS,
    "TIME(6)": [*TIMES, ["'-12:00'"], ["'300:00'"]],
    "YEAR": [["NULL"], ["2026"], ["2027"]],
    "JSON": [["NULL"], ["'{}'"], ["'[]'"], ["""'{"a":1}'"""], ["""'{"A":1}'"""]],
    "BIT(1)": [["NULL"], ["b'0'"], ["b'1'"]],
    "BIT(9)": [["NULL"], ["b'0'"], ["b'1'"], ["b'100000001'"]],
    "ENUM('a','b')": [["NULL"], ["'a'"], ["'b'"]],
    "SET('a','b')": [["NULL"], ["''"], ["'a'"], ["'a,b'"]],
    "UUID": UUIDS,
    "INET6": [["NULL"], ["'::1'"], ["'::2'"]],
}
DUCKDB: dict[str, Values] = {
    "VARCHAR": TEXTS,
    "VARCHAR COLLATE NOCASE": TEXTS,
    "BOOLEAN": TRUTH,
    "BIGINT": LARGE,
    "HUGEINT": HUGE,
    "UHUGEINT": [["NULL"], ["1"], ["18446744073709551616"]],
    "DECIMAL(18,2)": CENTS,
    "DECIMAL(19,2)": CENTS,
    "DECIMAL(38,10)": NUMBERS,
    "DOUBLE": [*FLOATS, *NOT_FINITE],
    "FLOAT": SINGLES,
    "BLOB": [["NULL"], ["''"], ["'\\x00'"], ["'a'"], ["'a\\x00'"], ["'\\xFF'"]],
    "DATE": DATES,
    "TIME": TIMES,
    "TIMESTAMP": [*MOMENTS, ["!'infinity'"]],
    "TIMESTAMPTZ": [*ZONED, ["!'infinity'"]],
    "INTERVAL": [["NULL"], ["'1 month'", "'30 days'"], ["'1 day'", "'24 hours'"], ["'1 microsecond'"], ["'0 days'"]],
    "UUID": UUIDS,
    "JSON": [[value] for value in ("NULL", "'{}'", "'[]'", """'{"a":1}'""", """'{"A":1}'""", """'{"a":"1"}'""")],
    "INTEGER[]": [["NULL"], ["[]"], ["[NULL]"], ["[1]"], ["[1,2]"], ["[2,1]"]],
    "DOUBLE[]": [["NULL"], ["[0.3]"], ["[0.30000000000000004::DOUBLE]"], ["[0.0]"]],
    "TIMESTAMP[]": [["NULL"], ["[]"], ["[TIMESTAMP '2026-01-01']"], ["[TIMESTAMP '2026-01-02']"]],
    "VARCHAR[]": [["NULL"], ["[]"], ["['']"], ["[NULL]"], ["['NULL']"], ["['a','b']"], ["['a, b']"], ["['A','b']"]],
    "VARCHAR[][]": [["[['a'],['b']]"], ["[['a','b']]"], ["[['a'],[],['b']]"], ["[['a'],NULL,['b']]"], ["[['a], [b']]"]],
    "STRUCT(a INTEGER, b VARCHAR)": [
        *(["NULL"], ["{'a': NULL, 'b': NULL}"], ["{'a': 1, 'b': ''}"], ["{'a': 1, 'b': NULL}"]),
        *(["{'a': 1, 'b': 'NULL'}"], ["{'a': 1, 'b': 'A'}"], ["{'a': 1, 'b': 'a'}"]),
    ],
    "MAP(VARCHAR, INTEGER)": [["NULL"], ["MAP {}"], ["MAP {'a': 1}"], ["MAP {'a': NULL}"], ["MAP {'A': 1}"]],
    "ENUM('a','b')": [["NULL"], ["'a'"], ["'b'"]],
    "UNION(a INTEGER, b VARCHAR)": [["NULL"], ["union_value(a := 1)"], ["union_value(b := '1')"]],
    "BIT": [["NULL"], ["'0'"], ["'00'"], ["'1'"]],
}
SQLITE: dict[str, Values] = {
    "TEXT": TEXTS,
    "TEXT COLLATE NOCASE": TEXTS,
    "TEXT COLLATE RTRIM": TEXTS,
    "INTEGER": [["NULL"], ["1", "1.0", "'1'"], ["'x'"], ["1.5"], ["''"]],
    "REAL": FLOATS,
    "NUMERIC": [["NULL"], ["1", "1.0", "'1'"], ["'x'"]],
    "BLOB": [["NULL"], ["x''"], ["'a'"], ["x'00'"], ["x'0000'"], ["x'ff'"]],
    "": [
        *(
            ["NULL"],
            ["''"],
            ["'1'"],
            ["1", "1.0"],
            ["x'31'"],
            ["0.3"],
            ["0.30000000000000004"],
            ["'a'"],
            ["'A'"],
            ["'0'"],
        ),
        *(["0", "-0.0", "0.0"], ["9007199254740993"], ["9007199254740992"], ["!9e999"]),
    ],
}
VALUES = {"postgres": POSTGRES, "mariadb": MARIADB, "duckdb": DUCKDB, "sqlite": SQLITE}
# What is made before a table can have columns of these types.
TYPES = {
    "postgres": [
        "CREATE TYPE thing AS (a int, b text)",
        "CREATE TYPE mood AS ENUM ('sad', 'Sad')",
        "CREATE DOMAIN price AS numeric",
    ]
}

LONG = 700 * "x"
STRANGE = [
    "a",
    "A",
    "a ",
    " a",
    "ä",
    "a\u0308",
    "it's",
    '"',
    "%",
    "%s",
    "_",
    "a\nb",
    "a\tb",
    "\u202ea",
    "שלום",
    "😀",
    "😁",
    "ß",
    "ss",
]
STRANGE += ["NULL", "null", "01", "1.0", "", "a\\b", "\\", "x' OR '1'='1", LONG, LONG + "y", "🏳️‍🌈"]

# Keys of other types: each is the key of another row.
KEYS: dict[str, dict[str, list[str]]] = {
    "postgres": {
        "char(5)": ["'a'", "'A'", "'ab'", "''"],
        "name": ["'a'", "'A'"],
        "int8": ["0", "-1", "4294967296", "9223372036854775807", "-9223372036854775808"],
        "numeric": ["0", "1.0", "-1.0", "1.5", "1e30", "12345678901234567.89"],
        "float8": ["0", "1", "-3", "1.5", "0.1", "1e300", "1e15"],
        "float4": ["1", "0.1", "16777216"],
        "date": ["'2026-01-01'", "'2026-01-02'"],
        "time": ["'00:00'", "'12:00'"],
        "timetz": ["'00:00+00'", "'12:00+00'"],
        "timestamp": ["'2026-01-01'", "'2026-01-01 00:00:00.5'"],
        "timestamptz": ["'2026-01-01'", "'2026-01-01 00:00:00.5'"],
        "interval": ["'1 day'", "'1 month'", "'2 hours'"],
        "uuid": [f"'{31 * '0'}1'", f"'{31 * '0'}2'"],
        "bytea": ["''", "'\\x00'", "'\\x61'", "'\\xff00'"],
        "bool": ["true", "false"],
        "inet": ["'10.0.0.1'", "'10.0.0.0/8'"],
        "mood": ["'sad'", "'Sad'"],
        "price": ["1.0", "1.5"],
    },
    "mariadb": {
        "CHAR(5) COLLATE utf8mb4_general_ci": ["'a'", "'A'", "'ab'", "''"],
        "VARCHAR(9) CHARACTER SET greek": ["'λ'", "'Λ'"],
        "BIGINT": ["0", "-1", "9223372036854775807"],
        "BIGINT UNSIGNED": ["0", "18446744073709551615"],
        "DECIMAL(40,10)": ["0", "1.0", "1.5", "12345678901234567.89"],
        "DOUBLE": ["0", "1", "-3", "1.5", "0.1", "1e300", "1e15"],
        "DATETIME(6)": ["'2026-01-01'", "'2026-01-01 00:00:00.5'"],
        "TIMESTAMP(6)": ["'2026-01-01'", "'2026-01-01 00:00:00.5'"],
        "TIME": ["'00:00'", "'12:00'"],
        "UUID": [f"'{31 * '0'}1'", f"'{31 * '0'}2'"],
        "VARBINARY(20)": ["''", "x'00'", "x'61'", "x'ff00'"],
        "VARBINARY(900)": ["''", "x'00'"],
        "ENUM('a','b')": ["'a'", "'b'"],
        "SET('a','b')": ["'a'", "'a,b'"],
        "BIT(9)": ["b'0'", "b'101'"],
    },
    "duckdb": {
        "BIGINT": ["0", "-1", "9223372036854775807"],
        "HUGEINT": ["0", "-1", "1" + 38 * "0"],
        "UBIGINT": ["0", "18446744073709551615"],
        "DECIMAL(38,10)": ["0", "1.0", "-2.50", "12345678901234567.89"],
        "DOUBLE": ["0", "1", "-3", "1.5", "0.1", "1e300", "1e15"],
        "FLOAT": ["1", "0.1"],
        "DATE": ["'2026-01-01'", "'2026-01-02'"],
        "TIME": ["'00:00'", "'12:00'"],
        "TIMESTAMP": ["'2026-01-01'", "'2026-01-01 00:00:00.5'"],
        "TIMESTAMPTZ": ["'2026-01-01 00:00+00'", "'2026-01-01 00:00:00.5+00'"],
        "INTERVAL": ["'1 day'", "'1 month'"],
        "UUID": [f"'{31 * '0'}1'", f"'{31 * '0'}2'"],
        "BLOB": ["''", "'\\x00'", "'a'", "'\\xFF'"],
        "BOOLEAN": ["true", "false"],
        "ENUM('a','b')": ["'a'", "'b'"],
    },
    "sqlite": {
        "INTEGER": ["0", "-1", "9223372036854775807"],
        "REAL": ["0", "1", "-3", "1.5", "0.1", "1e300"],
        "BLOB": ["x''", "x'00'", "x'61'", "x'ff00'"],
        "": ["0", "'a'", "'A'", "x'61'", "'1.5'"],
        "TEXT COLLATE NOCASE": ["'a'", "'A'"],
    },
}
