"""What can be done with accounts and sessions."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.common import columns
from services.common.auth import Caller
from services.common.database import Work
from services.common.errors import Problem
from services.common.idempotency import Post, Posts, Result
from services.common.replication import Done, ReadHeaders, Replication, WriteHeaders
from services.user.models import Account, LoginSession
from services.user.names import name_key
from services.user.passwords import Passwords
from services.user.schemas import AccessToken, Credentials, ProfileChange, Registration, User
from services.user.sessions import TOKEN_SECONDS, Signer, Ticket, lives

_ALL_USERS = 1000

Authority = Literal["user", "admin"]


class Accounts:
    """The accounts of a replica.

    Args:
        admins: names of accounts that have the authority `admin`.
    """

    def __init__(self, replication: Replication, posts: Posts, passwords: Passwords, admins: Iterable[str]) -> None:
        self._replication = replication
        self._database = replication.database
        self._posts = posts
        self._passwords = passwords
        self._admins = {name_key(name) for name in admins}

    def authority(self, account: Account) -> Authority:
        return "admin" if account.name_key in self._admins else "user"

    def register(self, post: Post, registration: Registration) -> tuple[Result, Mapping[str, str]]:
        """Problem `name-taken` if somebody has the name, here or earlier in the log."""
        taken = Problem("name-taken", "Choose another name, this one is taken.")
        key = name_key(registration.name)

        def has_name(session: Session) -> bool:
            return session.scalar(select(Account.id).where(Account.name_key == key)) is not None

        def look() -> None:
            # A repeated request must reach the record of the first one, which has the name.
            if post.headers.idempotency_key is None:
                with self._database.read() as session:
                    if has_name(session):
                        raise taken

        def prepare() -> Work[Result]:
            moment = columns.now()
            values = {
                "id": str(uuid.uuid4()),
                "name": registration.name,
                "name_key": key,
                "password_hash": self._passwords.hash(registration.password, first=look),
                "display_name": registration.display_name,
                "email": registration.email,
                "created_at": moment,
                "updated_at": moment,
            }

            def work(session: Session) -> Result:
                if has_name(session):
                    raise taken
                account = Account(**values)
                session.add(account)
                session.flush()
                return Result(201, User.of(account, self.authority(account)).document())

            return work

        return self._posts.execute(post, prepare, kind="strict", taken=taken)

    def own(self, caller: Caller) -> Account:
        """The caller's account. Problem `behind` if it is not here yet: the access token proves that it exists."""
        with self._database.read() as session:
            return _present(session.get(Account, caller.id))

    def change(self, caller: Caller, change: ProfileChange, headers: WriteHeaders) -> Done[Account]:
        """Write the given fields; nothing if none differs. Problem `conflict` if somebody else was first."""
        given = change.given()

        def work(session: Session) -> Account:
            account = _present(session.get(Account, caller.id, with_for_update=True))
            changed = {name: value for name, value in given.items() if getattr(account, name) != value}
            for name, value in changed.items():
                setattr(account, name, value)
            if changed:
                account.updated_at = columns.now()
            return account

        return self._replication.write(work, headers, "strict")

    def find(self, ids: Iterable[str]) -> list[Account]:
        """The accounts that exist, in the order of the ids, each once."""
        wanted = list(dict.fromkeys(ids))
        with self._database.read() as session:
            found = {account.id: account for account in session.scalars(select(Account).where(Account.id.in_(wanted)))}
        return [found[id_] for id_ in wanted if id_ in found]

    def get(self, id_: str) -> Account:
        """Problem `not-found`."""
        found = self.find([id_])
        if not found:
            raise Problem("not-found", "There is no user with this id.")
        return found[0]

    def everybody(self) -> list[Account]:
        """The first thousand accounts by name."""
        with self._database.read() as session:
            return list(session.scalars(select(Account).order_by(Account.name_key).limit(_ALL_USERS)))


class Sessions:
    """Signing in and out on a replica."""

    def __init__(self, replication: Replication, accounts: Accounts, passwords: Passwords, signer: Signer) -> None:
        self._replication = replication
        self._database = replication.database
        self._accounts = accounts
        self._passwords = passwords
        self._signer = signer

    def sign_in(self, credentials: Credentials, headers: WriteHeaders) -> tuple[Done[AccessToken], Ticket]:
        """Problem `unauthorized`, the same in words and in time for a wrong name and a wrong password."""
        entered = self._replication.enter(headers, "merge")
        with self._database.read() as session:
            account = session.scalar(select(Account).where(Account.name_key == name_key(credentials.name)))
        if not self._passwords.verify(account.password_hash if account else None, credentials.password) or not account:
            raise Problem("unauthorized", "The name or the password is wrong.")
        ticket = Ticket.new()

        def work(session: Session) -> AccessToken:
            expired = (LoginSession.account_id == account.id) & (LoginSession.expires_at <= columns.now())
            session.execute(delete(LoginSession).where(expired))
            session.add(ticket.row(account.id))
            return self._token(account, ticket.session)

        return self._replication.commit(work, entered, "merge"), ticket

    def refresh(self, ticket: Ticket | None, headers: ReadHeaders) -> AccessToken:
        """A new access token. Problem `unauthorized`; `behind` if this replica may not have heard of the session, or of
        its end, yet."""
        self._replication.require(headers)
        if ticket is None:
            raise _ended()
        with self._database.read() as session:
            login = session.get(LoginSession, ticket.session)
            if login is None or not ticket.opens(login):
                raise _ended()
            return self._token(_present(session.get(Account, login.account_id)), login.id)

    def renew(self, caller: Caller, headers: ReadHeaders) -> AccessToken:
        """A new access token for one that is valid still. Raises like `refresh`."""
        self._replication.require(headers)
        with self._database.read() as session:
            login = session.get(LoginSession, caller.session)
            if login is None or login.account_id != caller.id or not lives(login):
                raise _ended()
            return self._token(_present(session.get(Account, caller.id)), login.id)

    def sign_out(self, ticket: Ticket, headers: WriteHeaders) -> Done[None]:
        """End the session; nothing happens if it has ended already."""

        def work(session: Session) -> None:
            login = session.get(LoginSession, ticket.session, with_for_update=True)
            if login is not None and ticket.opens(login):
                session.delete(login)

        return self._replication.write(work, headers)

    def _token(self, account: Account, session_id: str) -> AccessToken:
        token = self._signer.token(account, session_id, self._accounts.authority(account))
        return AccessToken(access_token=token, expires_in=TOKEN_SECONDS)


def _present(account: Account | None) -> Account:
    if account is None:
        raise Problem("behind", "This replica does not have your account yet. Try again, or on another replica.")
    return account


def _ended() -> Problem:
    return Problem("unauthorized", "The session has ended. Sign in again.")
