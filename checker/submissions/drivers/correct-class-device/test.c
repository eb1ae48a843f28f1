#include <stdio.h>

int main(void)
{
	puts("tests nothing yet");
	return 0;
}
