"""An own FastAPI application with one route that answers from the documents.

rag-chain ingest docs
uvicorn app:app                  # in this folder; pip install 'rag_chain[local,serve]'
curl localhost:8000/ask -H content-type:application/json -d '{"question": "How long?", "session": "s1"}'
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from rag_chain import build_chain
from rag_chain.errors import RagChainError, UsageError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Build the chain once; it closes its connections at the end."""
    app.state.chain = build_chain()
    yield
    await app.state.chain.aclose()


app = FastAPI(lifespan=lifespan)


class Question(BaseModel):
    """A question in a session."""

    question: str
    session: str


@app.post("/ask")
async def ask(asked: Question) -> dict[str, Any]:
    """Answer a question; the turn is stored in its session."""
    try:
        answer = await app.state.chain.ainvoke(
            {"input": asked.question}, {"configurable": {"session_id": asked.session}}
        )
    except UsageError as error:
        raise HTTPException(400, str(error)) from error
    except RagChainError as error:
        raise HTTPException(503, str(error)) from error
    sources = [f"{one.source}, {one.position}" for one in answer["citations"]]
    return {"answer": answer["answer"], "sources": sources, "persistence": answer["persistence"]}
