import re

from bentos.gateway.app import create_app
from bentos.gateway.openapi import describe_api
from bentos.gateway.protocol import ChatRequest, SearchBody


def test_every_route_is_described_with_its_methods():
    described = {(path, method.upper()) for path, item in describe_api()["paths"].items() for method in item}
    routes = {
        (re.sub(r":\w+", "", route.path), method)
        for route in create_app().routes
        for method in route.methods - {"HEAD"}
        if not route.path.startswith("/{") and route.path != "/openapi.json"
    }
    assert described == routes


def test_every_reference_points_at_a_schema():
    document = describe_api()
    references = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert references == set(document["components"]["schemas"])


def test_every_field_of_a_request_is_described():
    schemas = describe_api()["components"]["schemas"]
    for model in (ChatRequest, SearchBody):
        assert set(schemas[model.__name__]["properties"]) == set(model.model_fields)
    diversity = schemas["SearchBody"]["properties"]["diversity"]
    assert (diversity["minimum"], diversity["maximum"], diversity["default"]) == (0, 1, 0)
    assert schemas["SearchBody"]["properties"]["section"]["description"]
    assert set(schemas["ChatRequest"]["required"]) == {"messages", "model"}


def test_errors_have_the_openai_shape():
    error = describe_api()["components"]["schemas"]["Error"]["properties"]["error"]
    assert set(error["required"]) == {"message", "type", "param", "code"}
