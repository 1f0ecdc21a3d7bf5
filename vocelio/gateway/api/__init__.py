"""The JSON control API. A credential's tenant is the only one it can see."""
