"""Sessions on a Redis server: clients, scripts, and which errors mean that it is unavailable."""
