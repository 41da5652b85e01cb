"""The relay: one public port before many transceivers, to which it forwards without looking into media."""
