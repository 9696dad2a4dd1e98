"""Launches found by PostgreSQL alone, as a search engine's results are compared to."""

from collections.abc import Iterator
from datetime import datetime

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from bench import judged

LIMIT = 20  # results of a query

# What a person may look for in a launch, from what the Launch Library says of it; without what it calls unknown.
LAUNCH = """
    CREATE OR REPLACE TEMPORARY VIEW launch AS
    SELECT name, net, net >= %(now)s AS is_coming,
           details #>> '{launch_service_provider,name}' AS provider,
           details #>> '{launch_service_provider,abbrev}' AS abbreviation,
           details #>> '{rocket,configuration,full_name}' AS rocket,
           details #>> '{pad,name}' AS pad,
           details #>> '{pad,location,name}' AS location,
           concat_ws(' ', details #>> '{mission,name}', details #>> '{mission,type}',
                     details #>> '{mission,orbit,name}', details #>> '{mission,orbit,abbrev}') AS mission,
           details #>> '{mission,description}' AS description,
           concat_ws(' ', details #>> '{status,name}', details #>> '{status,abbrev}') AS status,
           to_char(net AT TIME ZONE 'UTC', 'DD FMMonth YYYY') AS day
    FROM rocket_launches
"""
# Among equals, the next first, then the newest of the past.
ORDER = "is_coming DESC, abs(extract(epoch FROM net - %(now)s))"

# Every word is in the text.
ILIKE = f"""
    SELECT name
    FROM launch,
         concat_ws(' ', name, provider, rocket, pad, location, mission, description) AS text
    WHERE (SELECT bool_and(text ILIKE '%%' || word || '%%') FROM regexp_split_to_table(%(query)s, '\\s+') AS word)
    ORDER BY {ORDER}
    LIMIT %(limit)s
"""

# Accents are taken off. Launches with all words come first, then those with some.
FULL_TEXT = f"""
    WITH query AS (
        SELECT words, replace(words::text, '&', '|')::tsquery AS some
        FROM websearch_to_tsquery('english', regexp_replace(normalize(%(query)s, NFKD), '[\\u0300-\\u036f]', '', 'g'))
             AS words
    ), document AS (
        SELECT launch.*,
               setweight(to_tsvector('english', plain[1]), 'A') || setweight(to_tsvector('english', plain[2]), 'B') ||
               setweight(to_tsvector('english', plain[3]), 'C') || setweight(to_tsvector('english', plain[4]), 'D')
               AS words
        FROM launch CROSS JOIN LATERAL (
            SELECT array_agg(regexp_replace(normalize(coalesce(field, ''), NFKD), '[\\u0300-\\u036f]', '', 'g')
                             ORDER BY number)
            FROM unnest(ARRAY[
                name,
                concat_ws(' ', provider, abbreviation, rocket, location),
                concat_ws(' ', pad, mission, status, day),
                description
            ]) WITH ORDINALITY AS field (field, number)
        ) AS fields (plain)
    )
    SELECT name
    FROM document, query
    WHERE document.words @@ query.some
    ORDER BY document.words @@ query.words DESC, ts_rank_cd(document.words, query.some) DESC, {ORDER}
    LIMIT %(limit)s
"""

# For typing errors: how well a launch has what is most like each word, on average. Here, too, launches with all words
# come first.
TRIGRAMS = f"""
    SELECT name
    FROM launch,
         concat_ws(' ', name, provider, abbreviation, rocket, pad, location, mission, status, day, description) AS text,
         to_tsvector('english', text) AS words,
         LATERAL (
             SELECT avg(strict_word_similarity(word, text)) FROM regexp_split_to_table(%(query)s, '\\s+') AS word
         ) AS likeness (average)
    WHERE average >= 0.4 OR words @@ websearch_to_tsquery('english', %(query)s)
    ORDER BY words @@ websearch_to_tsquery('english', %(query)s) DESC, round(average::numeric, 2) DESC, {ORDER}
    LIMIT %(limit)s
"""


class Baselines:
    """The ways that a PostgreSQL has, each by a name; all ask at one moment. Not every one has trigrams."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection, self._now = connection, now
        self.ways = {"ILIKE": ILIKE, "full text": FULL_TEXT}
        with connection, connection.cursor() as cursor:
            cursor.execute(LAUNCH, {"now": now})
            cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")
            if cursor.fetchone():
                cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
                self.ways["… and trigrams"] = TRIGRAMS

    def search(self, way: str, query: str) -> list[str]:
        """Return the names of the launches that are found, the best first."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(self.ways[way], {"query": query, "now": self._now, "limit": LIMIT})
            return [name for (name,) in cursor.fetchall()]


def compared(queries: list[judged.Query], found: dict[str, list[list[str]]]) -> Iterator[str]:
    """Yield a table: MRR and recall@5 of each way, over all queries, for each kind, and for each query."""
    yield "| query | " + " | ".join(found) + " |"
    yield "|---|" + len(found) * "---|"
    kinds = dict.fromkeys(query.kind for query in queries)
    rows = [(f"all {len(queries)}", queries)]
    rows += [(f"kind: {kind}", [query for query in queries if query.kind == kind]) for kind in kinds]
    rows += [(query.text, [query]) for query in queries]
    for name, some in rows:
        places = [queries.index(query) for query in some]
        figures = [
            judged.judge([results[place] for place in places], [query.expected for query in some])
            for results in found.values()
        ]
        yield f"| {name} | " + " | ".join(f"{mrr:.2f}, {recall:.2f}" for mrr, recall in figures) + " |"
