"""The seven methods on a short CoinRun with two task shifts: logs, table and figures of finished runs."""
