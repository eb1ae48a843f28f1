/*
 * The C library's rand() and random(), whose numbers many devices give. They have one state for the
 * whole process. It is put into memory of this library, so that it can be handed to the next process.
 */
#include "internal.h"

/* As much as they have by themselves: another size has other numbers. */
#define STATE_SIZE 128
#define FIELD "rand()"
/* The first word of a state of that size: five times the place in the sequence, and three. */
#define KINDS 5
#define KIND 3
#define PLACES 31

static char numbers[STATE_SIZE] QEMU_ALIGNED(8);

void own_rand(void)
{
    /* 1 is their seed when srand() is not called. */
    initstate(1, numbers, sizeof(numbers));
}

int save_rand(struct vfio_user_state *state)
{
    /* Writes the place to the first word. */
    setstate(numbers);
    return vfio_user_state_put_bytes(state, FIELD, numbers, sizeof(numbers));
}

int restore_rand(const struct vfio_user_state *state)
{
    char saved[STATE_SIZE], other[STATE_SIZE] QEMU_ALIGNED(8);
    int error = vfio_user_state_get_bytes(state, FIELD, saved, sizeof(saved));
    if (error) {
        return error;
    }
    uint32_t first;
    memcpy(&first, saved, sizeof(first));
    if (first % KINDS != KIND || first / KINDS >= PLACES) {
        return vfio_user_error(EINVAL, "the field \"" FIELD "\" of the state is not one of rand()");
    }
    /* What is in use would be written to. */
    initstate(1, other, sizeof(other));
    memcpy(numbers, saved, sizeof(numbers));
    setstate(numbers);
    return 0;
}
