"""Kafka as an upstream: records and the position behind them in one transaction."""
