"""Composition root of ``vocelio serve``: builds every service of a gateway process and wires them into the application.

Only this module chooses implementations from the settings. It starts nothing: the application's lifespan does.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from starlette.applications import Starlette

from vocelio.gateway.api.routes import create_routes
from vocelio.gateway.api.websockets.endpoints import MonitoringDependencies
from vocelio.gateway.app import create_app
from vocelio.gateway.calls.background.process_heartbeat import ProcessHeartbeat
from vocelio.gateway.calls.components import CallComponents, build_call_components
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.events import EventBus
from vocelio.gateway.events.pubsub import LocalPubSub, PubSub
from vocelio.gateway.http_client.address_policy import public_except
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.monitors.key_revocation import MAX_SOCKETS_PER_PROCESS, KeyRevocationWatcher
from vocelio.gateway.monitors.service import MonitorService
from vocelio.gateway.prompts.cache import PreloadingPromptCache, PromptCache
from vocelio.gateway.prompts.manifest import PromptManifests
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.recordings.service import RecordingService
from vocelio.gateway.server.connection_limits import raise_open_file_limit
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.site.seed import SeedReport, seed_database
from vocelio.gateway.speech.fallback_synthesizer import fallback_voices
from vocelio.gateway.speech.providers import configured_tiers, create_speech_services
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.calls.interface import CallStore
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.database_directory import DatabaseDirectory
from vocelio.gateway.store.db.database import API_POOL, Database
from vocelio.gateway.store.recordings import DatabaseRecordingCatalog
from vocelio.gateway.store.tenants.secrets import rotate_keys
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccounts
from vocelio.gateway.twilio.provisioning.context import ProvisioningContext
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner
from vocelio.gateway.twilio.rest_client import TwilioClient

CallStoreFactory = Callable[[Database, SecretCipher], CallStore]


@dataclass(frozen=True)
class Gateway:
    """The parts of one gateway process that the server needs."""

    app: Starlette
    calls: CallComponents
    heartbeat: ProcessHeartbeat


@dataclass(frozen=True)
class _Infrastructure:
    """Shared dependencies of the services."""

    settings: Settings
    database: Database
    api_database: Database
    cipher: SecretCipher
    storage: ObjectStorage


@dataclass(frozen=True)
class _Prompts:
    """The prompt cache, and what fills it."""

    cache: PromptCache
    manifests: PromptManifests
    preloading_cache: PreloadingPromptCache


async def prepare_database(settings: Settings, site_folder: SiteFolder | None) -> SeedReport | None:
    """Migrate the database, rotate secret keys and load the site folder, once before any process serves.

    Returns what became of the site folder, if there is one. Raises SettingsError, SiteFolderError, DatabaseUnavailable.
    """
    database = Database(settings.database_url)
    try:
        await database.migrate()
        await rotate_keys(database, SecretCipher(settings.secret_keys))
        if site_folder:
            actor = Actor("command-line", "platform", site_folder.tenant.id, "", wall_clock())
            return await seed_database(database, site_folder, actor)
        return None
    finally:
        await database.aclose()


def compose_gateway(
    settings: Settings,
    resources: AsyncExitStack,
    *,
    http_client: HttpClient | None = None,
    call_store_factory: CallStoreFactory = WriteBehindCallStore,
) -> Gateway:
    """Build the services of one process. ``resources`` closes what the application's lifespan does not.

    ``http_client`` and ``call_store_factory`` are replaced by tests.
    """
    database, api_database = Database(settings.database_url), Database(settings.database_url, API_POOL)
    resources.push_async_callback(database.aclose)
    resources.push_async_callback(api_database.aclose)
    cipher, storage = SecretCipher(settings.secret_keys), ObjectStorage(settings.storage_url)
    base = _Infrastructure(settings, database, api_database, cipher, storage)
    prompts = _compose_prompts(base)
    resources.push_async_callback(prompts.cache.aclose)
    services = _compose_call_services(
        base,
        prompts,
        http_client or HttpClient(public_except(settings.blocked_networks)),
        call_store_factory(database, cipher),
    )
    calls = build_call_components(services, settings.secret_keys, settings.max_calls)
    heartbeat = ProcessHeartbeat(database, calls)
    return Gateway(_compose_app(base, prompts, calls, heartbeat), calls, heartbeat)


def connect_pubsub(redis_url: str) -> PubSub:
    """Choose the pub/sub implementation: Redis, or without a URL this process only."""
    if not redis_url:
        return LocalPubSub()
    # The client takes a third of a second to import, which a process without Redis need not pay.
    from vocelio.gateway.events.redis.pubsub import RedisPubSub

    return RedisPubSub(redis_url)


def _compose_prompts(base: _Infrastructure) -> _Prompts:
    tiers = configured_tiers(base.settings)
    manifests = PromptManifests(lambda voice: fallback_voices(voice, tiers)[0])
    cache = PromptCache(base.storage, base.database, wall_clock)
    return _Prompts(cache, manifests, PreloadingPromptCache(cache, manifests))


def _compose_call_services(
    base: _Infrastructure, prompts: _Prompts, http_client: HttpClient, call_store: CallStore
) -> CallServices:
    return CallServices(
        DatabaseDirectory(base.database, base.cipher, wall_clock),
        create_speech_services(base.settings, prompts.preloading_cache),
        EventBus(connect_pubsub(base.settings.redis_url)),
        http_client,
        call_store,
        wall_clock,
        RecordingService(base.storage, DatabaseRecordingCatalog(base.database), wall_clock, base.settings.public_url),
        prompt_preloader=prompts.preloading_cache,
    )


def _compose_app(
    base: _Infrastructure, prompts: _Prompts, calls: CallComponents, heartbeat: ProcessHeartbeat
) -> Starlette:
    settings, database, cipher = base.settings, base.database, base.cipher
    services = calls.services
    provisioner = NumberProvisioner(
        ProvisioningContext(settings, base.api_database, cipher, services.bus, wall_clock, TwilioClient())
    )
    render_worker = PromptRenderWorker(
        database, prompts.cache, prompts.manifests, services.speech.synthesizer.render, wall_clock
    )
    # Half of the open files at most: the other half is for calls.
    max_monitors = min(MAX_SOCKETS_PER_PROCESS, raise_open_file_limit() // 2)
    monitors = MonitorService(
        services.bus, database, wall_clock, KeyRevocationWatcher(database, wall_clock, max_per_process=max_monitors)
    )
    api_routes = create_routes(
        base.api_database,
        cipher,
        calls,
        wall_clock,
        provisioner=provisioner,
        render_worker=render_worker,
        monitoring=MonitoringDependencies(monitors, settings.secret_keys, settings.origin),
    )
    return create_app(
        settings,
        calls,
        tenant_tokens=TwilioAccounts(database, cipher).get_auth_token,
        api_routes=api_routes,
        background_services=[provisioner, render_worker, monitors, heartbeat],
    )
