-- The ledger's tables. Everything a node needs is here, except the guard, which must stand elsewhere.
-- No row per event: a commit writes one row of `commits`, one of `tails`, and what it completes.
-- bytea columns are STORAGE EXTERNAL: hashes do not compress, and a prefix can be read without the rest.

CREATE TABLE meta (
    key   text PRIMARY KEY,
    value bytea NOT NULL
);

-- One row, locked by each append: small and without indexed columns that change, so that every update is HOT and
-- stays in its page.
CREATE TABLE head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    size    bigint NOT NULL CHECK (size >= 0),
    root    bytea NOT NULL CHECK (octet_length(root) = 32),
    time_ms bigint NOT NULL
) WITH (fillfactor = 10);

-- The publisher's row, apart from `head` so that publishing never waits for an append nor holds one up.
CREATE TABLE published (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    size        bigint NOT NULL CHECK (size >= 0),
    root        bytea NOT NULL CHECK (octet_length(root) = 32),
    time_s      bigint NOT NULL,
    note        bytea NOT NULL,
    marked_size bigint NOT NULL CHECK (marked_size >= size),
    marked_root bytea NOT NULL CHECK (octet_length(marked_root) = 32)
) WITH (fillfactor = 10);
ALTER TABLE published ALTER COLUMN note SET STORAGE EXTERNAL;

INSERT INTO head (size, root, time_ms) VALUES (0, sha256(''), 0);
INSERT INTO published (size, root, time_s, note, marked_size, marked_root) VALUES (0, sha256(''), 0, '', 0, sha256(''));

-- The partial hash tile of each level from 1: changes once in 256 entries, so it must not ride in `head`.
CREATE TABLE edge (
    level smallint PRIMARY KEY CHECK (level >= 1),
    index bigint NOT NULL,
    data  bytea NOT NULL CHECK (octet_length(data) % 32 = 0 AND octet_length(data) < 8192)
) WITH (fillfactor = 50);
ALTER TABLE edge ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE commits (
    tree_size   bigint PRIMARY KEY,
    first_index bigint NOT NULL CHECK (first_index < tree_size),
    time_ms     bigint NOT NULL,
    root        bytea NOT NULL CHECK (octet_length(root) = 32),
    submissions bytea NOT NULL   -- u32 offsets from first_index, big-endian
);

-- Entries that no full bundle holds yet, a row per commit; gone in the transaction that completes the bundle.
CREATE TABLE tails (
    first_index bigint PRIMARY KEY,
    entries     bytea NOT NULL,  -- bundle form: u16 length and bytes of each
    hashes      bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8160 AND octet_length(hashes) % 32 = 0)
) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 4096);
ALTER TABLE tails ALTER COLUMN entries SET STORAGE EXTERNAL, ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- Full tiles (level >= 0) and full entry bundles (level -1), written once and never changed.
CREATE TABLE tiles (
    level smallint NOT NULL CHECK (level BETWEEN -1 AND 7),
    index bigint NOT NULL CHECK (index >= 0),
    data  bytea NOT NULL CHECK (level < 0 OR octet_length(data) = 8192),
    PRIMARY KEY (level, index)
);
ALTER TABLE tiles ALTER COLUMN data SET STORAGE EXTERNAL;

-- Level-8 hashes of the events trees that have more than 256 events.
CREATE TABLE event_nodes (
    submission_index bigint PRIMARY KEY,
    nodes            bytea NOT NULL
);
ALTER TABLE event_nodes ALTER COLUMN nodes SET STORAGE EXTERNAL;

-- Idempotency keys, purged after they expire. The block range index costs an insert next to nothing.
CREATE TABLE submissions (
    key         bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    first_index bigint NOT NULL,
    count       integer NOT NULL,
    expires_ms  bigint NOT NULL
);
CREATE INDEX submissions_expires ON submissions USING brin (expires_ms) WITH (pages_per_range = 16);

-- Status tree, append-only: the newest version at or below a head's size is that head's.
CREATE TABLE status_nodes (
    level   smallint NOT NULL,
    index   bigint NOT NULL,
    version bigint NOT NULL,
    hash    bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, index, version)
);
CREATE TABLE status_chunks (
    chunk   bigint NOT NULL,
    version bigint NOT NULL,
    data    bytea NOT NULL CHECK (octet_length(data) = 64),
    PRIMARY KEY (chunk, version)
);

-- First 8 bytes of a commitment -> leaf index; filled behind the head in sorted runs, up to lookup_state.filled_to.
CREATE TABLE lookup (
    prefix     bigint NOT NULL,
    leaf_index bigint NOT NULL,
    PRIMARY KEY (prefix, leaf_index)
);
CREATE TABLE lookup_state (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    filled_to bigint NOT NULL
);
INSERT INTO lookup_state (filled_to) VALUES (0);

-- handed_out counts the steps of a keyed permutation of the list's 131,072 slots; closed lists hand out no more.
CREATE TABLE slot_lists (
    list       bigint PRIMARY KEY,
    issuer     bytea NOT NULL CHECK (octet_length(issuer) = 32),
    handed_out integer NOT NULL DEFAULT 0 CHECK (handed_out BETWEEN 0 AND 131072),
    closed     boolean NOT NULL DEFAULT false
) WITH (fillfactor = 80);
CREATE INDEX slot_lists_issuer ON slot_lists (issuer, list);

CREATE TABLE snapshots (
    size bigint PRIMARY KEY,
    data bytea NOT NULL
);
ALTER TABLE snapshots ALTER COLUMN data SET STORAGE EXTERNAL;
