"""The journal: every influence on the engine, on disk before its outputs leave."""
