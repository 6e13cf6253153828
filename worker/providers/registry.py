"""Opens the providers of the catalogue: for each of its files, the module of the same name beside this one."""

from importlib import import_module

import aiohttp

from shared.catalog.load import Catalog, CatalogInvalid
from shared.settings import Settings
from worker.pixel_pool import PixelPool
from worker.providers.base import Provider


def open_providers(catalog: Catalog, settings: Settings, http: aiohttp.ClientSession, pool: PixelPool) -> dict[str, Provider]:
    """The configured providers by name; one without its key is left out. Each has to be closed by the caller.

    A provider's module has `create(access, entry, settings, http, pool)`, which answers None if it is not configured.

    Raises:
        CatalogInvalid: the catalogue names a provider that has no module.
    """
    opened: dict[str, Provider] = {}
    for name, entry in catalog.providers.items():
        module = f"worker.providers.{name}"
        try:
            create = import_module(module).create
        except (ModuleNotFoundError, AttributeError) as error:
            if isinstance(error, ModuleNotFoundError) and error.name != module:
                raise
            raise CatalogInvalid(f"{name}.toml", "this version has no code for the provider") from error
        provider: Provider | None = create(settings.provider_access(name), entry, settings, http, pool)
        if provider is not None:
            opened[name] = provider
    return opened
