"""One TOML file for each machine; `bevel.backends.target` reads them."""
