"""The released files of MTRB and its sources: found in a folder or downloaded, and always verified.

They carry no licence that would let this project redistribute them, so it holds their hashes only.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mtrb.errors import AbsentDataError, DataError

GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class UpstreamFile:
    """Name one file of a public repository at a pinned commit, with its hash."""

    repository: str
    commit: str
    path: str
    sha256: str = ""
    git_blob: str = ""  # the hash git gives a file; used where no sha256 is known

    def matches(self, data: bytes) -> bool:
        """Tell whether the content is the pinned one."""
        if self.sha256:
            return hashlib.sha256(data).hexdigest() == self.sha256
        header = f"blob {len(data)}\0".encode()
        return hashlib.sha1(header + data, usedforsecurity=False).hexdigest() == self.git_blob


_MTRB = ("FANXIN-Gmail/MTRB-QTA", "0d61fa4884576ed289c963daffdcd19dded227f6")

RESTBENCH_TOOLS = UpstreamFile(
    *_MTRB, "restbench/tmdb_tool_rewrite.json", "e560a663809355893fd422b1094ce26e478ae3d6b4bf51678f2b358636c0b886"
)
RESTBENCH_TEST = UpstreamFile(
    *_MTRB, "restbench/mtr_restbench_test.json", "b29c46e45de2a1f2556a3f5373d8d32ea5b488da6a348f6ca5d2edef7c8ede49"
)
RESTBENCH_ALL = UpstreamFile(
    "Yifan-Song793/RestGPT",
    "d99012860cb45323975bf5780152d7aa44f390f5",
    "datasets/tmdb.json",
    "6a9686067683ec6c33221de05bd2e763cfbfedf2cac6f4e6b607d7ab80a858d4",
)
METATOOL_TOOLS = UpstreamFile(
    *_MTRB,
    "metatool/ts_metatool_api_list_rewrite.json",
    "3093c27b2aba0625c15b9f845785feb1ddd340b57eb416ebc2d52487d57f390c",
)
METATOOL_TEST = UpstreamFile(
    *_MTRB, "metatool/mtr_metatool_test.json", "dd18aa71839eb7ba41c1e18004e7ee352700d27a6852041414568c821208480e"
)
METATOOL_POOL = UpstreamFile(
    "HowieHwong/MetaTool",
    "35e81bb7576826e980c80fed8f8c0a2b4a1e6fbb",
    "dataset/tmp_dataset/Task2-Subtask3.json",
    "f893730a94cc6342d4171f4eb7187277fc7cc4a218b9060668039cab069f4a75",
)
TOOLBENCH_TOOLS = UpstreamFile(
    *_MTRB,
    "toolbench/toolbench_tool_instruction_rewrite_revised.json",
    git_blob="efeeeee4642dfe7429ada793b0133a9cc5851f69",
)
TOOLBENCH_TEST = UpstreamFile(
    *_MTRB, "toolbench/mtr_toolbench_test.json", "e5cc4ec0b0db41d087923ce2391c0dbe24a4b1f9e66bcc4133fd75be934e6c36"
)


def home() -> Path | None:
    """Return the folder named by MTRB_HOME, or None."""
    folder = os.environ.get("MTRB_HOME")
    return Path(folder).expanduser() if folder else None


def read(file: UpstreamFile) -> bytes:
    """Return the verified content from MTRB_HOME, or else from the download cache.

    Raises:
        AbsentDataError: the file is absent or cannot be downloaded.
        DataError: it is not the pinned version.
    """
    folder = home()
    if folder is None:
        return _download(file)
    path = folder / file.repository.replace("/", "+") / file.path
    if not path.exists():
        place = path.relative_to(folder)
        raise AbsentDataError(f"$MTRB_HOME/{place} does not exist; put it there, or unset MTRB_HOME to download it")
    data = path.read_bytes()
    if not file.matches(data):
        raise DataError(
            f"{path} is not the pinned version (its hash differs); replace it with the file of "
            f"github.com/{file.repository} at commit {file.commit}"
        )
    return data


def _download(file: UpstreamFile) -> bytes:
    import platformdirs
    import pooch
    import requests

    base = os.environ.get("MTRB_URL", GITHUB).rstrip("/")
    url = f"{base}/{file.repository}/{file.commit}/{file.path}"
    cache = platformdirs.user_cache_path("qta") / "mtrb" / file.repository.replace("/", "+")
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            url,
            known_hash=f"sha256:{file.sha256}" if file.sha256 else None,
            fname=file.path.replace("/", "_"),
            path=cache,
            downloader=pooch.HTTPDownloader(progressbar=True, timeout=30),
        )
    except (requests.RequestException, OSError) as error:
        raise AbsentDataError(
            f"cannot download {url} ({type(error).__name__}); set MTRB_HOME to a folder that holds the released files "
            f"as OWNER+NAME/path ({file.repository.replace('/', '+')}/{file.path}), or allow access to {base}"
        ) from None
    except ValueError as error:
        raise DataError(f"{url} is not the pinned version: {error}") from None
    data = Path(path).read_bytes()
    if not file.matches(data):
        Path(path).unlink()
        raise DataError(f"{url} is not the pinned version: its git blob id is not {file.git_blob}")
    return data
