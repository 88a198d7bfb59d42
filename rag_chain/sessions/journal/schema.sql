-- The journal: what is kept on this machine. Times are in ms by the journal's own clock, see database.py.

CREATE TABLE IF NOT EXISTS sessions (
  store   TEXT NOT NULL,              -- address and prefix of the server that it is for; 'here' and prefix: this machine
  key     TEXT NOT NULL,              -- the session's messages key
  session TEXT NOT NULL,
  owner   TEXT NOT NULL,              -- user id; '': none
  created INTEGER,                    -- NULL: deleted
  active  INTEGER NOT NULL,
  expires INTEGER NOT NULL,           -- what waits for a server does not expire here
  deleted INTEGER NOT NULL DEFAULT 0, -- when it was last deleted
  total   INTEGER NOT NULL DEFAULT 0, -- messages ever put into it here
  data    TEXT NOT NULL DEFAULT '',   -- metadata as JSON
  PRIMARY KEY (store, key)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS sessions_by_activity ON sessions (store, owner, active, session);

CREATE TABLE IF NOT EXISTS entries (
  id    INTEGER PRIMARY KEY AUTOINCREMENT,
  store TEXT NOT NULL,
  key   TEXT NOT NULL,
  kind  TEXT NOT NULL,                -- pending, turn, given_up (without an answer that stands), append, create, extend,
                                      -- clear, delete, erase (a turn that was taken back: its name),
                                      -- feedback (on a turn),
                                      -- checkpoint (a change of LangGraph's checkpoints)
  name  TEXT NOT NULL,                -- turn id, or the id of what else it is
  at    INTEGER NOT NULL,             -- when the turn began, when the rest was asked for
  base  INTEGER NOT NULL,             -- messages that the session was known to have had on its server
  size  INTEGER NOT NULL,             -- messages in it
  body  BLOB NOT NULL,                -- messages as JSON, oldest first, a line each; or a pending question
  UNIQUE (store, key, name)
);

CREATE INDEX IF NOT EXISTS entries_by_session ON entries (store, key, id);

-- Of entries whose session was known to its server: what a deletion there is compared with.
CREATE TABLE IF NOT EXISTS moments (
  entry     INTEGER PRIMARY KEY,
  deletion  INTEGER NOT NULL,         -- the last deletion that was known, by the server's mark
  server_ms INTEGER NOT NULL          -- when the turn began, by the server's clock; 0: the server was away
);

CREATE TRIGGER IF NOT EXISTS moment_goes AFTER DELETE ON entries BEGIN
  DELETE FROM moments WHERE entry = OLD.id;
END;

CREATE TABLE IF NOT EXISTS summaries (
  store  TEXT NOT NULL,
  key    TEXT NOT NULL,
  covers INTEGER NOT NULL,            -- messages that it covers, of all ever put into the session here
  text   TEXT NOT NULL,
  PRIMARY KEY (store, key)
) WITHOUT ROWID;

-- A summary goes with the last of its session's messages: cleared, deleted, expired or evicted.
CREATE TRIGGER IF NOT EXISTS summary_goes AFTER DELETE ON entries BEGIN
  DELETE FROM summaries WHERE store = OLD.store AND key = OLD.key
    AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.store = OLD.store AND e.key = OLD.key);
END;

CREATE TABLE IF NOT EXISTS leases (
  store TEXT PRIMARY KEY,
  owner TEXT NOT NULL,                -- the process that replays the entries
  until INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS clock (
  boot  TEXT PRIMARY KEY,             -- a start of this machine
  shift INTEGER NOT NULL              -- what is added to the time since that start
) WITHOUT ROWID;
