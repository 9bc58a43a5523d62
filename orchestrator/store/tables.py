"""The tables as peewee models, unbound: a query is executed on the database it is given, never on a global one.

The migrations make the schema; these models only name it, and a test holds the two together. All instants are
microseconds since 1970.
"""

from peewee import BigAutoField, BigIntegerField, BlobField, IntegerField, Model, TextField


class Table(Model):
    """What every table has: a number that only grows."""

    id = BigAutoField()

    class Meta:
        legacy_table_names = False


class Account(Table):
    """To whom clusters, items and users belong."""

    name = TextField()
    created_at = BigIntegerField()


class AccountUser(Table):
    """Somebody who may sign in."""

    account_id = BigIntegerField()
    username = TextField()
    password_hash = TextField()
    created_at = BigIntegerField()
    updated_at = BigIntegerField()


class Setting(Model):
    """What the installation itself has to remember, such as the check value of the sealing key."""

    name = TextField(primary_key=True)
    value = BlobField()

    class Meta:
        legacy_table_names = False


class Cluster(Table):
    """A configured cluster, when it is due, who is looking at it, and how the newest looks ended.

    `generation` grows with every change of the config, `claim` with every look that begins: a result is stored only
    while both are what they were when its look began. `run_id` is the run in progress, `queued_run_id` the one that
    was asked for and begins next.
    """

    account_id = BigIntegerField()
    inventory_type = TextField()
    cluster_name = TextField()
    server = TextField()
    cluster_certificate = TextField(null=True)
    client_certificate = TextField(null=True)
    credential_type = TextField()
    credential = BlobField()
    namespaces = TextField()
    generation = BigIntegerField()
    created_at = BigIntegerField()
    updated_at = BigIntegerField()
    due_at = BigIntegerField()
    claim = BigIntegerField()
    lease_until = BigIntegerField(null=True)
    run_id = BigIntegerField(null=True)
    queued_run_id = BigIntegerField(null=True)
    timeouts = IntegerField()
    failures = IntegerField()
    last_run_id = BigIntegerField(null=True)
    last_success_id = BigIntegerField(null=True)
    last_success_at = BigIntegerField(null=True)


class Run(Table):
    """One look at a cluster, or one posted report: what came of it."""

    account_id = BigIntegerField()
    cluster_id = BigIntegerField(null=True)
    inventory_type = TextField()
    cluster_name = TextField()
    sender = TextField()
    state = TextField()
    requested_at = BigIntegerField()
    started_at = BigIntegerField(null=True)
    finished_at = BigIntegerField(null=True)
    exit_code = IntegerField(null=True)
    reason_code = TextField(null=True)
    reason = TextField(null=True)
    remedy = TextField(null=True)
    stdout_excerpt = TextField(null=True)
    stderr_excerpt = TextField(null=True)
    namespaces = IntegerField(null=True)
    images = IntegerField(null=True)
    appeared = IntegerField(null=True)
    gone = IntegerField(null=True)
    left_out = IntegerField(null=True)
    kai_version = TextField(null=True)
    server_version = TextField(null=True)


class Source(Table):
    """What reports are about; its row is locked first by everything that writes its inventory."""

    account_id = BigIntegerField()
    inventory_type = TextField()
    cluster_name = TextField()


class Sender(Table):
    """Who reports about a source: embedded mode or a posting user, with the newest report it sent.

    `covered_since` is the start of an unbroken row of looks at all namespaces, None where there is none. The health
    of a posting user follows from the rest, that of embedded mode from its cluster's row; `traces` are what is
    remembered of the newest posted reports, as JSON.
    """

    source_id = BigIntegerField()
    name = TextField()
    report_at = BigIntegerField()
    received_at = BigIntegerField()
    covered_since = BigIntegerField(null=True)
    failures = IntegerField(default=0)
    last_run_id = BigIntegerField(null=True)
    last_success_id = BigIntegerField(null=True)
    last_success_at = BigIntegerField(null=True)
    traces = TextField(default="[]")


class Context(Table):
    """A namespace of a source: its newest report. `fingerprint` is None once anything but a report changed it;
    `gone` is 1 once a look at all namespaces no longer named it."""

    account_id = BigIntegerField()
    source_id = BigIntegerField()
    sender_id = BigIntegerField()
    namespace = TextField()
    name = TextField()
    report_at = BigIntegerField()
    received_at = BigIntegerField()
    covered_since = BigIntegerField()
    fingerprint = BlobField(null=True)
    gone = IntegerField()


class Item(Table):
    """An image in a context, with its newest interval of presence: `last_seen` is None while it is present."""

    context_id = BigIntegerField()
    image_key = BlobField()
    image_tag = TextField()
    image_digest = TextField()
    created_at = BigIntegerField()
    present_since = BigIntegerField()
    last_seen = BigIntegerField(null=True)


class Presence(Table):
    """An earlier interval in which an item was present, from first to last seen."""

    item_id = BigIntegerField()
    started_at = BigIntegerField()
    ended_at = BigIntegerField()


class Coverage(Table):
    """An earlier interval in which the reports of a context came at their pace."""

    context_id = BigIntegerField()
    started_at = BigIntegerField()
    ended_at = BigIntegerField()


class Audit(Table):
    """Who changed what, and when."""

    at = BigIntegerField()
    account_id = BigIntegerField()
    username = TextField()
    action = TextField()
    subject = TextField()
    detail = TextField()


TABLES: tuple[type[Model], ...] = (
    Account,
    AccountUser,
    Setting,
    Cluster,
    Run,
    Source,
    Sender,
    Context,
    Item,
    Presence,
    Coverage,
    Audit,
)
