"""The tables. They are the truth; jobs only carry the work that they call unfinished.

Times are seconds since the epoch (UTC) as floats.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_UID = sa.String(64)
_KEY = sa.String(80)
_ASSOCIATION = sa.String(32)

study = sa.Table(
    "study",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("patient_id", sa.Text, nullable=False),
    sa.Column("study_date", sa.String(8), nullable=False),
    sa.Column("source", sa.String(32), nullable=False),
    sa.Column("first_received_at", sa.Float, nullable=False),
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("series_instance_uid", _UID, primary_key=True),
    sa.Column("study_instance_uid", _UID, sa.ForeignKey(study.c.study_instance_uid), index=True),
    sa.Column("modality", sa.String(16), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("source", sa.String(32), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("quiet_seconds", sa.Float, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("first_received_at", sa.Float, nullable=False),
    sa.Column("last_received_at", sa.Float, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
)

instance = sa.Table(
    "instance",
    metadata,
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("series_instance_uid", _UID, sa.ForeignKey(series.c.series_instance_uid), index=True),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("sop_class_uid", _UID, nullable=False),
    sa.Column("transfer_syntax_uid", _UID, nullable=False),
    sa.Column("number", sa.Integer),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("calling_ae", sa.String(16), nullable=False),
    sa.Column("received_at", sa.Float, nullable=False),
    # The file was not where it should be when it was last looked for.
    sa.Column("missing", sa.Boolean, nullable=False, server_default=sa.false()),
    # Its file was deleted by `[retention]`.
    sa.Column("deleted_at", sa.Float),
    # As the header says, for telling whether the series is all here; null in rows of old versions.
    sa.Column("image_type", sa.Text),
    sa.Column("position", sa.Text),
    sa.Column("orientation", sa.Text),
    sa.Column("acquisition", sa.Integer),
    sa.Column("in_acquisition", sa.Integer),
    # Which association brought it; null in rows of old versions, and of files found in the spool.
    sa.Column("association", _ASSOCIATION),
)

# What one association brings of one study, from its first image there to its end.
transfer = sa.Table(
    "transfer",
    metadata,
    sa.Column("association", _ASSOCIATION, primary_key=True),
    sa.Column("study_instance_uid", _UID, primary_key=True, index=True),
    sa.Column("calling_ae", sa.String(16), nullable=False),
    sa.Column("address", sa.String(45), nullable=False),
    sa.Column("source", sa.String(32), nullable=False),
    sa.Column("began_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float, index=True),
)

revision = sa.Table(
    "revision",
    metadata,
    sa.Column("key", _KEY, primary_key=True),
    sa.Column("series_instance_uid", _UID, sa.ForeignKey(series.c.series_instance_uid), index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    # Its place in the queue: by the priority of its source, and sources take turns.
    sa.Column("turn", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("reason", sa.String(32)),
    sa.Column("reason_text", sa.Text),
    sa.Column("outcome", sa.JSON),
    sa.Column("last_received_at", sa.Float, nullable=False),
    sa.Column("completed_at", sa.Float, nullable=False),
    sa.Column("reported_at", sa.Float),
    # The process that began the stage at hand, how many processes began it without an end, and
    # how many of these deaths were forgiven.
    sa.Column("begun_by", sa.String(64)),
    sa.Column("starts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("forgiven", sa.Integer, nullable=False, server_default=sa.text("0")),
)

revision_instance = sa.Table(
    "revision_instance",
    metadata,
    sa.Column("revision_key", _KEY, sa.ForeignKey(revision.c.key), primary_key=True),
    sa.Column(
        "sop_instance_uid", _UID, sa.ForeignKey(instance.c.sop_instance_uid), primary_key=True
    ),
)

result = sa.Table(
    "result",
    metadata,
    sa.Column("revision_key", _KEY, sa.ForeignKey(revision.c.key), primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("built_at", sa.Float, nullable=False),
    sa.Column("deleted_at", sa.Float),
)

# What was fixed of a work when it was first done: the time in its objects, by the node's own clock
# (ISO 8601), and the report that they supersede. `key` is the name of the folder of its results.
work = sa.Table(
    "work",
    metadata,
    sa.Column("key", _UID, primary_key=True),
    sa.Column("made", sa.String(26), nullable=False),
    sa.Column("supersedes", sa.JSON(none_as_null=True)),
)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("revision_key", _KEY, sa.ForeignKey(revision.c.key), primary_key=True),
    sa.Column("destination", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    # `attempt` numbers its jobs; `tries` counts those since it was last asked for, or stored.
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("verdicts", sa.JSON, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("next_at", sa.Float),
    sa.Column("updated_at", sa.Float, nullable=False),
    # When everything was stored there, how often some of it was lost again, and what proves it.
    sa.Column("stored_at", sa.Float),
    sa.Column("lost", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("proof", sa.String(32)),
)

# A storage commitment that we asked for; `failed` maps SOP Instance UIDs to Failure Reasons. It is
# open until what was answered has been acted upon, or counts no more.
commitment_request = sa.Table(
    "commitment_request",
    metadata,
    sa.Column("uid", _UID, primary_key=True),
    sa.Column("revision_key", _KEY, nullable=False, index=True),
    sa.Column("destination", sa.String(32), nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("answered_at", sa.Float),
    sa.Column("stored", sa.JSON),
    sa.Column("failed", sa.JSON),
    sa.Column("open", sa.Boolean, nullable=False, index=True),
)

# Destinations to which nothing is sent, nor are they asked, until they are released.
held_destination = sa.Table(
    "held_destination",
    metadata,
    sa.Column("destination", sa.String(32), primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
)

# SOP classes that a destination did not accept when it was last offered them.
refused_class = sa.Table(
    "refused_class",
    metadata,
    sa.Column("destination", sa.String(32), primary_key=True),
    sa.Column("sop_class_uid", _UID, primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
)

# A list of instances that a sender says there are; `uid` is the transaction's or the object's.
announcement = sa.Table(
    "announcement",
    metadata,
    sa.Column("uid", _UID, primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("calling_ae", sa.String(16), nullable=False),
    sa.Column("received_at", sa.Float, nullable=False, index=True),
    # How often its report was tried in associations of ours, and when it is tried next.
    sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("next_at", sa.Float),
)

announced = sa.Table(
    "announced",
    metadata,
    sa.Column("announcement_uid", _UID, sa.ForeignKey(announcement.c.uid), primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True, index=True),
    sa.Column("sop_class_uid", _UID, nullable=False),
    sa.Column("series_instance_uid", _UID, index=True),
)

# The trail: triggers of the database refuse to change a row of it, and to delete one that is not
# older than `audit_pruning` says. A migration that makes this table anew must make them anew too.
event = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("study_instance_uid", _UID, index=True),
    sa.Column("series_instance_uid", _UID, index=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("data", sa.JSON),
)

# Open only within the transaction that deletes what has outlived `[audit] days`; else empty.
audit_pruning = sa.Table(
    "audit_pruning",
    metadata,
    sa.Column("before", sa.Float, primary_key=True),
)

# Up to which event each place has got the audit messages.
audit_position = sa.Table(
    "audit_position",
    metadata,
    sa.Column("sink", sa.String(300), primary_key=True),
    sa.Column("event_id", sa.Integer, nullable=False),
)
