"""Data that cannot be downloaded from one place: found beside MTRB_HOME, plain or gzip-compressed, always verified."""

import gzip
import hashlib
import os
import zlib
from pathlib import Path

from mtrb.benchmarks.upstream import home
from mtrb.errors import AbsentDataError, DataError

# sha256 of what each file holds once it is decompressed; MTRB_HOME/../.. is the folder they are named in.
_SHA256 = {
    "api-bank/queries.jsonl": "9fcbd3fdef7d34960f8cd53153694c7980c9892cebcf0e4f26746d1ef24df50b",
    "api-bank/tools.jsonl": "0f369ee7dce439beb11df538acedfebd3486a450dadd7d56d7b5750dd80f7355",
    "tooltalk/queries.jsonl": "309a6d50cddb2bf781e670590c83e8080c0015b8cf80a4759e8dd2dbacaed8c3",
    "tooltalk/tools.jsonl": "f6f08239aebeda57114bc05fac20a4f32037208b47264be3f1d613adcfea6106",
    "toolalpaca/queries.jsonl": "4d4c4e142f812c08b30a90f10bc0aac377d22480e00f8f6c8b8d23c66c90649a",
    "toolalpaca/tools.jsonl": "2aa922c517c5a2486176079376bb27e4ba40204001b9b0068fbdc537e8da2177",
    "seal-tools/queries.jsonl": "a51bb7efaf1461ac2fcf8908f60228a9a413191b33ba395cfeb8d80e8b520472",
    "seal-tools/tools.jsonl": "8e2e6e513d82bd0a3744a26f81a3321a09545f07b21c888de898577b86c6d519",
    "bfcl/queries.jsonl": "44cea856e481974cb7d14c21abc3edb6f0b86236e02fda8f808a51cecaeae828",
    "bfcl/tools.jsonl": "0e787d161bb08abe978cb303efe44cbf4d39a3a3cd5f5a1dd0542013aa4ea271",
    "nestful/queries.jsonl": "f8ca1241148a8f289f345cf55e406ea06c07cc509623248c9c077162661d93e4",
    "nestful/tools.jsonl": "04ad5744d5de4069dc95c5cf238369cb7e9843c84cd8eae38b83cddbcb9fbd5f",
    "toolselect/queries.jsonl": "08035553568b7144a519af5c26364d3fd7cf639ca5fdbdd56c4b03812b7f5265",
    "toolselect/tools.jsonl": "a364e86f6e37ccd6a6b8d05f739f383d5e209d4015bb9fdf9f864cf8faa38ba6",
    "mcpm-registry/functions.jsonl": "1d80ba6ca82ad743692be1566aa72b92b04d018f85377e88eb49081122925aae",
    "mcpm-registry/queries.jsonl": "f0c14baef2e12f0d226fd61ab7d885be78d97b0e603a6e4729684f027b1bb846",
    "mcpm-registry/tools.jsonl": "25ffe5fa8b002fec57a16d18a1a6a5b6586ce80d4f9dcf330a6c2f2c4ec42e2b",
    "apibench/queries.jsonl": "7090878f448c3f6b1bdc2c38184198402d536177ab182d4bf8500ba73943f64e",
    "apibench/tools.jsonl": "eb385e0b30d67893575b72aa4cd9e1d16995681f707b365e05ad7800fa17aa13",
    "tooleyes/queries.jsonl": "86a5b464d000040bba24e50b3516eb0e2a648f29f7ad37888cbfaef7f371b9ab",
    "tooleyes/tools.jsonl": "532686edf5aca8fae716ed2cd0e94d5209226eacf96af242794b2b592a4f5d2d",
    "toolsdk-mcp-registry/tools.jsonl": "357cc029583b88dc3df4a479ce91b2fc3f1998d30d6b8116205e9884db87d66a",
    "docker-mcp-registry/servers.jsonl": "95e85964e6a48d1fb26524e496b6692f230850e870d49f0985b0d8aab0741a72",
    "docker-mcp-registry/tools.jsonl": "4b8edc3d849c1750b2add4bf10d7d046b66061751361b41a259b5bdb9aed54f1",
    "mtrb/toolbench/tools_standin.jsonl": "b8bf31b5763ddef777fc494c3faa602b67a4b5fa22f7f49844d007fafc10813f",
    "mtrb/toolbench/train.jsonl": "1918a19ef89192b1226316e4178efe478f45d78d0a2ed77724566c75ac0b8129",
}


def local_file(name: str) -> Path:
    """Return the path of a data file, e.g. `api-bank/tools.jsonl`, or of the same with `.gz` behind.

    Raises:
        AbsentDataError: MTRB_HOME is not set, or nothing is there.
        DataError: it is damaged or another version than the figures are about.
    """
    folder = home()
    if folder is None:
        raise AbsentDataError("not downloadable; set MTRB_HOME to the folder of the released files, see docs/data.md")
    plain = Path(os.path.normpath(folder.absolute() / ".." / ".." / name))
    path = plain if plain.exists() else plain.with_name(f"{plain.name}.gz")
    if not path.exists():
        raise AbsentDataError(f"$MTRB_HOME/../../{name} (or {path.name}) does not exist; see docs/data.md")
    if _sha256(path) != _SHA256[name]:
        raise DataError(f"{path} is not the version that the figures are about (its hash differs); see docs/data.md")
    return path


def _sha256(path: Path) -> str:
    data = path.read_bytes()
    try:
        return hashlib.sha256(gzip.decompress(data) if path.suffix == ".gz" else data).hexdigest()
    except (OSError, EOFError, zlib.error):
        return "damaged"
