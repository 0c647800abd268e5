import trio


async def test_version(database):
    assert (await database.version()).startswith("18")
    assert await database.ping() < 1
