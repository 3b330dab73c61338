"""The application: its addresses, its answers to those who may not, and the headers that hold it to itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as AnyHTTPException

from airflow_provider_segment.compat import get_auth_manager, get_user
from airflow_provider_segment.core.errors import SegmentError
from airflow_provider_segment.plugins.page.access import Access
from airflow_provider_segment.plugins.page.charts import bars
from airflow_provider_segment.plugins.page.keys import explain, values_of
from airflow_provider_segment.plugins.page.rendering import render
from airflow_provider_segment.plugins.page.states import places
from airflow_provider_segment.plugins.page.syncs import RESET, SYNCS, Sync, details, find_syncs, list_runs

_FORM_BYTES = 20_000
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def _access(user: Annotated[Any, Depends(get_user)]) -> Access:
    """Return what the user may read; who may read no DAG gets no page."""
    access = Access(user)
    if not access.is_any:
        raise HTTPException(403)
    return access


AccessDep = Annotated[Access, Depends(_access)]


def make_app() -> FastAPI:
    """Return the application that Airflow's API server mounts."""
    app = FastAPI(title="Segment syncs", openapi_url=None, docs_url=None, redoc_url=None)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")), name="static")
    app.add_api_route("/", _list, response_class=HTMLResponse)
    app.add_api_route("/sync", _sync, response_class=HTMLResponse)
    app.add_api_route("/key", _empty_key, response_class=HTMLResponse)
    app.add_api_route("/key", _key, methods=["POST"], response_class=HTMLResponse)
    app.add_exception_handler(AnyHTTPException, _refuse)
    app.middleware("http")(_with_headers)
    return app


def _list(access: AccessDep, page: str = "1") -> HTMLResponse:
    """Answer with the list of syncs."""
    found = find_syncs(access)
    pages = max(1, -(-len(found.syncs) // SYNCS))
    at = min(max(_whole(page) or 1, 1), pages)
    listed = list_runs(found.syncs[(at - 1) * SYNCS : at * SYNCS], found.broken, access)
    paging = {"page": at, "pages": pages, "total": len(found.syncs)}
    return render("list.html", listed=listed, broken=found.broken, places=places(), **paging)


def _sync(access: AccessDep, state: str = "", id: str = "", run: str = "", before: str = "") -> HTMLResponse:  # noqa: A002  of the address
    """Answer with the page of one sync."""
    sync = _find(access, state, id)
    if sync.line.is_newer:
        return render("newer.html", sync=sync)
    try:
        of_sync = details(sync, access, before=_whole(before), chosen=_whole(run))
    except SegmentError as error:
        return render("broken.html", sync=sync, error=str(error))
    drawn = bars([one for one in of_sync.runs if one.line.mode != RESET])
    return render("sync.html", sync=sync, of_sync=of_sync, bars=drawn, before=_whole(before))


def _empty_key(access: AccessDep, state: str = "", id: str = "") -> HTMLResponse:  # noqa: A002  of the address
    """Answer with the form in which a key is looked for."""
    found = find_syncs(access)
    return render("key.html", syncs=found.syncs, chosen=(state, id), key="", answer=None, error="")


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form; a key stands in no address, since addresses are logged."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_BYTES:
            raise HTTPException(413)
    return {name: given[0] for name, given in parse_qs(body.decode(errors="replace")).items()}


def _key(access: AccessDep, form: Annotated[dict[str, str], Depends(_form)]) -> HTMLResponse:
    """Answer with what is known of a key."""
    of_sync = {name: given[0] for name, given in parse_qs(form.get("sync", "")).items()}
    state, sync_id, key = of_sync.get("state", ""), of_sync.get("id", ""), form.get("key", "").strip()
    sync = _find(access, state, sync_id)
    answer, error = None, ""
    if not key:
        error = "Type the value of the key first."
    elif sync.line.is_newer:
        error = "A newer version of this package has written this state: upgrade it here."
    else:
        try:
            answer = explain(sync, values_of(key))
        except SegmentError as failure:
            error = str(failure)
    shown: dict[str, Any] = {"chosen": (state, sync_id), "key": key, "answer": answer, "error": error}
    return render("key.html", syncs=find_syncs(access).syncs, **shown)


def _find(access: Access, state: str, sync_id: str) -> Sync:
    """Return a sync that the user may see; for others it makes no difference whether there is one."""
    among = [place for place in places() if str(place) == state]
    found = find_syncs(access, among)
    for sync in found.syncs:
        if sync.line.sync_id == sync_id:
            return sync
    if found.broken:
        raise HTTPException(503, next(iter(found.broken.values())))
    raise HTTPException(404 if access.may_read("", "") else 403)


def _refuse(request: Request, error: Exception) -> Response:
    """Answer to whoever may not see a page, or asks for one that is not there."""
    status, said = getattr(error, "status_code", 500), ""
    login = ""
    if status == 401:
        login = get_auth_manager().get_url_login(next_url=str(request.url))
    if status == 503:
        said = str(getattr(error, "detail", ""))
    return render("refused.html", status=status, said=said, login=login, code=status)


async def _with_headers(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Add the headers that let a page load only what is ours, and be framed only by Airflow."""
    response = await go_on(request)
    response.headers.update(_HEADERS)
    # Through proxies nobody gets what another may read.
    response.headers.setdefault("Cache-Control", "no-store" if "/static/" not in request.url.path else "max-age=3600")
    return response


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
