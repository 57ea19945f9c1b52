"""MQTT 3.1.1 and 5 client codec and payload decoders."""
