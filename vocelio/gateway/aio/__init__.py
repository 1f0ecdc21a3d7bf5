"""Generic asyncio helpers."""
