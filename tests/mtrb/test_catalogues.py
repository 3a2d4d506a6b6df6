"""The catalogues inside botocore and google-api-python-client."""

import re

import jsonschema_rs
import pytest

from mtrb.formats import read_tools
from mtrb.formats.catalogues import strip_markup
from mtrb.types import Tool, Toolset


@pytest.fixture(scope="module")
def aws() -> Toolset:
    return Toolset(read_tools(["botocore:"]))


@pytest.fixture(scope="module")
def google() -> Toolset:
    return Toolset(read_tools(["google:"]))


def test_every_aws_operation_is_there(aws: Toolset) -> None:
    assert len(aws) == 18_378
    assert len({tool.source for tool in aws}) == 424
    tagging = [tool for tool in aws if tool.name == "TagResource"]
    assert len(tagging) == 281
    assert len({tool.tool_id for tool in tagging}) == 281


def test_an_aws_operation_reads_well(aws: Toolset) -> None:
    tool = aws[aws.positions["aws.ec2/RunInstances"]]
    assert tool.description.startswith("Amazon EC2: Launches the specified number of instances")
    assert tool.tags == ("aws", "ec2")
    properties = tool.parameters["properties"]
    assert tool.parameters["required"] == ["MaxCount", "MinCount"]
    assert properties["MaxCount"]["type"] == "integer"
    assert properties["ImageId"]["description"].startswith("The ID of the AMI.")
    assert "DeviceName" in properties["BlockDeviceMappings"]["items"]["properties"]
    assert aws[aws.positions["aws.ec2/DescribeInstances"]].parameters["required"] == []


def test_every_google_method_is_there(google: Toolset) -> None:
    assert len(google) == 28_137
    send = google[google.positions["google.gmail.v1/gmail.users.messages.send"]]
    assert send.description.startswith("Gmail API: Sends the specified message")
    assert {"userId", "raw"} <= send.parameters["properties"].keys()
    assert send.parameters["required"] == ["userId"]
    listed = google[google.positions["google.gmail.v1/gmail.users.messages.list"]]
    assert listed.parameters["properties"]["labelIds"]["type"] == "array"
    assert google[google.positions["google.drive.v3/drive.files.list"]].parameters["required"] == []


def test_no_markup_and_only_valid_schemas_are_left(aws: Toolset, google: Toolset) -> None:
    tools: list[Tool] = [*aws[:], *google[:]]
    for tool in tools:
        jsonschema_rs.meta.validate(dict(tool.parameters))
        assert not re.search(r"</?(p|li|ul|code|b|note)>", tool.description), tool.tool_id


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>One <b>bold</b> word.</p><p>Two &amp; <i>three</i>.</p>", "One bold word.\nTwo & three."),
        ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
        ('See <a href="https://x">the guide</a>.', "See the guide."),
        ("See [the guide](https://x/y).", "See the guide."),
        ("a < b and c > d", "a < b and c > d"),
        ("Such as //<trust_domain>/ns/<namespace>.", "Such as //<trust_domain>/ns/<namespace>."),
        ("", ""),
    ],
)
def test_markup_is_stripped(markup: str, text: str) -> None:
    assert strip_markup(markup) == text
