"""Whom a transfer may ring: dial plan, toll-fraud rules, authorization, whisper."""
