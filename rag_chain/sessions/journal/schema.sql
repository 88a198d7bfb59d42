-- The journal: what is kept on this machine. Times are in ms since 1970.

CREATE TABLE IF NOT EXISTS sessions (
  store   TEXT NOT NULL,              -- address and prefix of the server that it is for; 'here' and prefix: this machine
  key     TEXT NOT NULL,              -- the session's messages key
  session TEXT NOT NULL,
  owner   TEXT NOT NULL,              -- user id; '': none
  created INTEGER,                    -- NULL: deleted
  active  INTEGER NOT NULL,
  expires INTEGER NOT NULL,
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
  kind  TEXT NOT NULL,                -- pending, turn, given_up (without an answer that stands), append, create, clear,
                                      -- delete
  name  TEXT NOT NULL,                -- turn id, or the id of what else it is
  at    INTEGER NOT NULL,             -- when the turn began, when the rest was asked for
  base  INTEGER NOT NULL,             -- messages that the session was known to have had on its server
  size  INTEGER NOT NULL,             -- messages in it
  body  BLOB NOT NULL,                -- messages as JSON, oldest first, a line each; or a pending question
  UNIQUE (store, key, name)
);

CREATE INDEX IF NOT EXISTS entries_by_session ON entries (store, key, id);

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
  owner TEXT NOT NULL,                -- the process that hands the entries over
  until INTEGER NOT NULL
) WITHOUT ROWID;
