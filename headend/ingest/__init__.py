"""What others send us: clients around the payload decoders of `drivers.push`."""
