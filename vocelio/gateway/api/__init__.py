"""The control API: JSON over HTTP, for admins, designers and operators. Tenants see their own things only."""
