-- Vanished messages that are given back from escrow: which copies became custody, and which copy was found.
ALTER TABLE batches ADD COLUMN copied_from TEXT NOT NULL DEFAULT '';
ALTER TABLE reconciled ADD COLUMN escrow_hash BLOB NOT NULL DEFAULT x'';
