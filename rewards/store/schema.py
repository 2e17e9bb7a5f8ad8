"""The tables of a reward store, and which version of them this package writes."""

import sqlalchemy as sa

SCHEMA_VERSION = 1
"""Goes up with every change of the tables; a store of a higher one is refused."""

metadata = sa.MetaData()

about = sa.Table(
    "oreflow_store",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("value", sa.String(200), nullable=False),
)
"""Facts about the store itself: `schema_version`."""

terms = sa.Table(
    "oreflow_terms",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # of name, version and parameters: the same in every store
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("version", sa.String(200), nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),  # JSON, as they were hashed
    sa.Column("unit", sa.String(200), nullable=False),
    sa.Column("requires", sa.String(200), nullable=False),
)
"""Reward terms, one row for each version and each set of parameters."""

values = sa.Table(
    "oreflow_rewards",
    metadata,
    sa.Column("term", sa.String(40), primary_key=True),
    sa.Column("object", sa.String(40), primary_key=True),  # digest of the canonical key
    sa.Column("label", sa.String(200), nullable=False),  # what messages call the object
    sa.Column("text", sa.Text),  # what it can be read back from: a formula, or a crystal as tables hold it
    sa.Column("value", sa.Float(53)),
    sa.Column("valid", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("failed", sa.Boolean, nullable=False),  # it raised, crashed or hung, and did not say "no value"
    sa.Column("columns", sa.Text, nullable=False),  # JSON: name to [kind of numpy's type, cell]
    sa.Column("seconds", sa.Float(53)),
    sa.Column("cost", sa.Float(53)),
    sa.Column("made_at", sa.String(40), nullable=False),  # UTC; for people only, nothing is decided by it
    sa.Column("made_by", sa.String(200), nullable=False),
)
"""Values, one row an object and term."""

owners = sa.Table(
    "oreflow_owners",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("beat", sa.Integer, nullable=False),  # goes up while the process lives
    sa.Column("machine", sa.String(200), nullable=False),
    sa.Column("process", sa.String(80), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
)
"""Processes that hold claims."""

claims = sa.Table(
    "oreflow_claims",
    metadata,
    sa.Column("term", sa.String(40), primary_key=True),
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(40), nullable=False),
)
"""Values that somebody is computing."""
