def test_a_lane_that_fills_while_the_lanes_are_looked_at_waits_for_its_turn() -> None:
    class Filling(Lane):
        """One whose producer, which needs no GIL, appends between any two looks."""

        looks = 0

        def __len__(self) -> int:
            self.looks += 1
            if self.looks == 1:
                return 0
            return super().__len__()

    lane = Filling("fast", 8)
    lane.append(np.zeros(3, SAMPLE))
    lane.looks = 0
    assert Inbox([lane]).drain(np.zeros(8, SAMPLE)) == 3
