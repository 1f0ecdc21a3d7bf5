"""Transfers: dial plan, toll-fraud rules, authorization, whisper."""
